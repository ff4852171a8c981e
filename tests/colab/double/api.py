"""The control plane's calls, over HTTP."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from tests.colab.double.control import Control, listed
from tests.colab.double.faults import Faults
from tests.colab.double.oauth import OAuth

HASH = re.compile(r"[0-9a-f]{8}(_[0-9a-f]{4}){3}_[0-9a-f]{12}\.{8}")


class Guarded(JSONResponse):
    """JSON that no browser runs as a script."""

    def render(self, content: Any) -> bytes:
        """Put the guard before it."""
        return b")]}'\n" + super().render(content)


def application(control: Control, oauth: OAuth, faults: Faults) -> FastAPI:
    """Control plane and login pages together."""
    refusals: dict[Any, Any] = {HTTPException: _refused, RequestValidationError: _senseless}
    app = FastAPI(openapi_url=None, exception_handlers=refusals)
    app.include_router(oauth.router(faults))
    app.include_router(_calls(control, oauth, faults))
    return app


def _refused(request: Request, error: HTTPException) -> Response:
    return Guarded({"error": {"code": error.status_code, "message": error.detail}}, error.status_code)


def _senseless(request: Request, error: RequestValidationError) -> Response:
    return _refused(request, HTTPException(400, "a parameter is missing, or is none"))


def _calls(control: Control, oauth: OAuth, faults: Faults) -> APIRouter:
    logged_in, client = Depends(partial(_logged_in, oauth)), Depends(partial(_client, control))
    router = APIRouter(prefix="/tun/m", route_class=faults.routes(), dependencies=[logged_in, client])
    _ask_calls(router, control)
    _assign_calls(router, control)
    _runtime_calls(router, control)
    return router


def _logged_in(oauth: OAuth, request: Request) -> None:
    if not oauth.accepts(request.headers.get("Authorization", "")):
        raise HTTPException(401, "log in")


def _client(control: Control, request: Request) -> None:
    if request.query_params.get("authuser") != "0" or "X-Colab-Client-Agent" not in request.headers:
        raise HTTPException(400, "say who asks, for whom")
    if request.headers["X-Colab-Client-Agent"] in control.barred:
        raise HTTPException(403, "not for this program")


def _tunnel(request: Request) -> None:
    if request.headers.get("X-Colab-Tunnel") != "Google":
        raise HTTPException(400, "this goes through the tunnel")


def _xsrf(request: Request) -> str:
    return request.headers.get("X-Goog-Colab-Token", "")


def _ask_calls(router: APIRouter, control: Control) -> None:
    @router.get("/ccu-info", name="ccu-info")
    def usage() -> Response:
        return Guarded(control.usage())

    @router.get("/assignments", name="assignments")
    def assignments() -> Response:
        return Guarded({"assignments": [listed(found) for found in list(control.assignments.values())]})


def _assign_calls(router: APIRouter, control: Control) -> None:
    @router.get("/assign", name="assign-token")
    def may_assign(nbh: str, variant: str = "DEFAULT", accelerator: str = "NONE") -> Response:
        gpu = _wanted(nbh, variant, accelerator)
        if found := control.known(nbh):
            return Guarded(control.told(found))
        told = {"acc": gpu or "NONE", "nbh": nbh, "p": False, "variant": variant}
        return Guarded({**told, "token": control.xsrf(nbh)})

    @router.post("/assign", name="assign")
    def assign(request: Request, nbh: str, variant: str = "DEFAULT", accelerator: str = "NONE") -> Response:
        gpu = _wanted(nbh, variant, accelerator)
        control.use(_xsrf(request), nbh)
        return Guarded(control.take(nbh, gpu))

    @router.get("/unassign/{endpoint}", name="unassign-token")
    def may_unassign(endpoint: str) -> Response:
        return Guarded({"token": control.xsrf(control.found(endpoint).endpoint)})

    @router.post("/unassign/{endpoint}", name="unassign")
    def unassign(request: Request, endpoint: str) -> Response:
        control.found(endpoint)
        control.use(_xsrf(request), endpoint)
        control.end(endpoint, "released")
        return Response(status_code=204)


def _wanted(nbh: str, variant: str, accelerator: str) -> str:
    """The GPU of a query, empty for none. Raises HTTPException for what makes no sense."""
    if not HASH.fullmatch(nbh) or (variant == "GPU") != (accelerator != "NONE"):
        raise HTTPException(400, "nbh, variant and accelerator make no sense")
    return accelerator.removeprefix("NONE")


def _runtime_calls(router: APIRouter, control: Control) -> None:
    tunnel = [Depends(_tunnel)]

    @router.get("/runtime-proxy-token", name="runtime-proxy-token", dependencies=tunnel)
    def proxy(endpoint: str, port: str) -> Response:
        if port != "8080":
            raise HTTPException(400, "only the Jupyter server's port is let through")
        return Guarded(control.proxy(control.found(endpoint)))

    @router.get("/{endpoint}/keep-alive/", name="keep-alive", dependencies=tunnel)
    def keep_alive(endpoint: str) -> Response:
        control.found(endpoint).keep_alive()
        return Guarded({})
