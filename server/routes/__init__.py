"""What can be asked of the server: one module for each kind of thing, with a `router`. Adding one edits no file.

What may be asked for with GET may be with HEAD (RFC 9110): by a route of its own, or else by the same without its body.
"""

from __future__ import annotations

from copy import copy
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from fastapi import APIRouter
from fastapi.routing import APIRoute


@cache  # a route is added once, however many applications there are
def routers() -> tuple[APIRouter, ...]:
    """The routers of all modules in this folder, by name of the module."""
    names = sorted(module.name for module in iter_modules(__path__))
    return tuple(_with_heads(import_module(f"{__name__}.{name}").router) for name in names)


def _with_heads(router: APIRouter) -> APIRouter:
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    heads = {route.path for route in routes if "HEAD" in (route.methods or ())}
    for route in routes:
        if "GET" in (route.methods or ()) and route.path not in heads:
            head = copy(route)
            head.methods, head.include_in_schema = {"HEAD"}, False
            router.routes.append(head)
    return router
