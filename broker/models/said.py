"""Words for people: how much, and why not."""

from __future__ import annotations

import re
from collections.abc import Callable

NUMBER = re.compile(r"^\[Errno -?\d+\] ")

Tell = Callable[[str], None]
"""Somebody who is told how far something is."""


def silent(_: str) -> None:
    """Nobody is told."""


def amount(size: float) -> str:
    """A number of bytes."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"


def reason(error: BaseException) -> str:
    """Why something failed, in one line and without its number."""
    cause = getattr(error, "reason", error)  # what urllib hands on
    said = str(getattr(cause, "strerror", None) or cause).strip() or type(error).__name__
    return NUMBER.sub("", said.partition("\n")[0])
