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

from broker.errors import MissingHere
from broker.models import catalogue
from broker.models.pinning import resolve
from broker.models.store import missing

__all__ = ["absent", "missing", "resolve"]


def absent(sources: Iterable[str]) -> MissingHere:
    """The error that models are not here, of which there may be several."""
    return catalogue.absent([catalogue.about(source) for source in sources])
