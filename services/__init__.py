"""Services: what a person asks for. One module each, found by name; adding one edits no existing file."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from services.base import quick  # noqa: F401 - first of all
from services.base.service import Service

__all__ = ["Service", "find", "names"]


def names() -> list[str]:
    """Names of all services. Packages in this folder (`base`) are not services."""
    return sorted(module.name for module in iter_modules(__path__) if not module.ispkg)


def find(name: str) -> Service:
    """The service of that name. Raises LookupError."""
    if name not in names():
        raise LookupError(f"no service {name!r}; there are: {', '.join(names())}")
    service: Service = import_module(f"services.{name}").SERVICE
    return service
