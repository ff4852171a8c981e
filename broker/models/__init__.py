"""Models: which there are (`catalogue`), what exactly each is (`pinning`, `lock`), and where its files are (`store`).

A model is named by its source:

    hf:OWNER/NAME[@REVISION]    a repository of the Hugging Face hub
    https://.../FILE            one file
    path:/ABSOLUTE/PATH         a file, or a folder of files, of the user's

The first use of one that can be fetched pins it: its exact revision and the sha256 of each of its files, in a lock
file. From then on a model is those files, on every machine; where they come from does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from broker.errors import MissingHere

if TYPE_CHECKING:
    from broker.models.pinning import resolve
    from broker.models.store import missing

__all__ = ["absent", "missing", "resolve"]

PLACES = {"resolve": "broker.models.pinning", "missing": "broker.models.store"}


def __getattr__(name: str) -> Any:
    """Import what is asked for: most jobs have no model."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)


def absent(sources: Iterable[str]) -> MissingHere:
    """The error that models are not here, of which there may be several."""
    from broker.models import catalogue

    return catalogue.absent([catalogue.about(source) for source in sources])
