"""Errors as RFC 9457 problem documents: the sentence, the hint and the exit code that the command line has for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from broker.errors import (
    Busy,
    ConfigError,
    InputError,
    IntegrityError,
    JobFailed,
    LimitError,
    MissingHere,
    NoJob,
    NoTarget,
    OffloadError,
    UsageError,
)
from executors.base import ExecutorError
from server.examples import PROBLEMS
from server.schemas import Problem

KIND = "application/problem+json"
HASH_MISMATCH = 460
"""As the tus protocol answers a wrong checksum."""

STATUS: Mapping[int, int] = {
    UsageError.exit_code: 422,
    InputError.exit_code: 422,
    MissingHere.exit_code: 424,
    NoTarget.exit_code: 409,
    JobFailed.exit_code: 422,
    ConfigError.exit_code: 503,
    LimitError.exit_code: 507,
    IntegrityError.exit_code: HASH_MISMATCH,
}
"""Of errors, by the exit code that tells their class. What a client cannot help is 5xx: a full disk, say."""

EXIT_CODES: Mapping[int, int] = {
    401: ConfigError.exit_code,
    403: ConfigError.exit_code,
    408: NoTarget.exit_code,
    413: LimitError.exit_code,
    429: ConfigError.exit_code,
    500: OffloadError.exit_code,
    503: NoTarget.exit_code,
}
"""Of refusals, by their status. Any other is of a request that makes no sense as it stands."""


class Refusal(Exception):
    """A request that is answered by a problem, with a status of its own."""

    def __init__(
        self,
        status: int,
        detail: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.hint, self.headers = status, hint, headers
        self.exit_code = exit_code or EXIT_CODES.get(status, UsageError.exit_code)


class NotFound(Refusal):
    """There is no such thing."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(404, detail, hint)


def status_of(error: OffloadError | ExecutorError | Refusal) -> int:
    """The status that an error is answered with."""
    if isinstance(error, Refusal):
        return error.status
    if isinstance(error, NoJob):
        return 404
    return 503 if isinstance(error, Busy) else STATUS.get(error.exit_code, 500)


def document(status: int, detail: str, hint: str = "", exit_code: int | None = None, **more: Any) -> dict[str, Any]:
    """A problem document."""
    title = HTTPStatus(status).phrase if status != HASH_MISMATCH else "Checksum Mismatch"
    code = exit_code or EXIT_CODES.get(status, UsageError.exit_code)
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "hint": hint,
        "exit_code": code,
        **more,
    }


def for_openai(status: int, detail: str, hint: str = "", param: str | None = None, code: str | None = None) -> Any:
    """A problem as OpenAI's clients understand it, besides: they show the message, and nothing else."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    message = f"{detail} ({hint})" if hint else detail
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def answer(
    status: int, detail: str, hint: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem as a response."""
    return _Ascii(document(status, detail, hint, **more), status, dict(headers or {}), KIND)


class _Ascii(JSONResponse):
    """JSON of what a client sent, whatever that was: half a surrogate pair has no bytes of its own."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content).encode("ascii")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route says in the API's description that it may answer so. Whatever else goes wrong is a problem, too."""
    said: dict[int | str, str] = {
        status: document(status, "")["title"] for status in sorted({400, 401, 403, 422, *statuses})
    }
    said["default"] = "Any other problem"
    return {
        status: {"model": Problem, "description": text, "content": {KIND: {"example": _example(status)}}}
        for status, text in said.items()
    }


def _example(status: int | str) -> dict[str, Any]:
    code = status if isinstance(status, int) else 500
    return document(code, *PROBLEMS[code])


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(OffloadError, _ours)
    app.add_exception_handler(ExecutorError, _ours)
    app.add_exception_handler(Refusal, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OffloadError | ExecutorError | Refusal)
    headers = getattr(error, "headers", None)
    return answer(status_of(error), str(error), error.hint, headers, exit_code=error.exit_code)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if _is_no_json(request, error):
        return answer(415, "this takes JSON", "say so: Content-Type: application/json")
    found = [{"at": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()]
    detail = "; ".join(f"{one['at']}: {one['what']}" for one in found)
    return answer(422, detail, errors=found)


def _is_no_json(request: Request, error: RequestValidationError) -> bool:
    """Whether a body was not read for what it was said to be."""
    whole = any(one["loc"] == ("body",) for one in error.errors())
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return whole and bool(error.body) and kind != "application/json" and not kind.endswith("+json")


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return answer(error.status_code, str(error.detail), headers={**(error.headers or {}), **_allowed(request, error)})


def _allowed(request: Request, error: HTTPException) -> dict[str, str]:
    """All methods of a path, to whoever came with another: a route knows its own alone."""
    path, routes = request.scope["path"], iter_route_contexts(request.app.routes)
    methods = {
        method for route in routes if compile_path(route.path or "")[0].match(path) for method in route.methods or ()
    }
    return {"Allow": ", ".join(sorted(methods))} if error.status_code == 405 and methods else {}


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return answer(500, "something unexpected went wrong; the server's log says what")
