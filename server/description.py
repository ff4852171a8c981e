"""The API's description (OpenAPI), with what the routes cannot say of themselves: how to be let in, how errors look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from server.guard import GUARDED, OPEN
from server.problems import KIND

Described = dict[str, Any]

METHODS = ("get", "head", "post", "patch", "delete", "put")


def describe(app: FastAPI, cookie: str) -> Described:
    """The description of all routes; `cookie` is the name of that which lets a browser in."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        ways = {
            "token": {"type": "http", "scheme": "bearer", "description": "The token in the server's folder."},
            "cookie": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "Given by POST /v1/session."},
        }
        found["components"]["securitySchemes"] = ways
        for method, path, operation in _operations(found):
            if path.startswith(GUARDED) and (method.upper(), path) not in OPEN:
                operation["security"] = [{name: []} for name in ways]
            for status, answer in operation["responses"].items():
                _is_problem(status, answer.get("content", {}))
        app.openapi_schema = found
    return app.openapi_schema


def _operations(described: Described) -> Iterator[tuple[str, str, Described]]:
    for path, entry in described["paths"].items():
        yield from ((method, path, entry[method]) for method in METHODS if method in entry)


def _is_problem(status: str, content: Described) -> None:
    """Errors are problem documents and nothing else: FastAPI would have them be plain JSON as well."""
    if KIND in content and "schema" not in content[KIND]:
        for kind in [kind for kind in content if kind != KIND]:
            content[KIND] |= content.pop(kind)
