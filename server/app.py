"""The application: routes, errors and guard, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from server import problems
from server.description import describe
from server.desk import Desk
from server.guard import Guard, cookie_name, is_guarded
from server.metrics import Counted, Metrics
from server.routes import routers

PAGE = Path(__file__).with_name("page")


def create(desk: Desk) -> ASGIApp:
    """The server's application, to be reached at 127.0.0.1 and localhost on the desk's port."""
    names = [f"{host}:{desk.port}" for host in ("127.0.0.1", "localhost")]
    metrics = Metrics()
    return Counted(Guard(routed(desk, metrics), desk.access, names, cookie_name(desk.port)), metrics)


def routed(desk: Desk, metrics: Metrics) -> FastAPI:
    """The routes and the page, with nobody at the door."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with desk.open():
            yield

    app = FastAPI(
        title="offload",
        version=version("offload-broker"),
        description="Run a heavy media job on the best machine you can reach, or here: same script, same output.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.desk, app.state.metrics = desk, metrics
    problems.install(app)
    for router in routers():
        app.include_router(router)
    app.openapi = lambda: describe(app, cookie_name(desk.port))  # type: ignore[method-assign]
    app.router.default = _Page(directory=PAGE, html=True)  # a mount would take what has another method, too
    return app


class _Page(StaticFiles):
    """The page's files, and nothing below where the routes are."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The answer to a request for a file."""
        if is_guarded(scope):
            raise problems.NotFound(f"nothing is at {scope['path'][:200]}", "GET /openapi.json tells what there is")
        return await super().get_response(path, scope)
