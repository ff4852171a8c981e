"""How equal two results of one request are. Each module here compares one kind: pure functions on two paths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import takewhile
from pathlib import Path
from typing import Any

BLOCK = 2**20


class Level(IntEnum):
    """How equal: the bytes; what is decoded of them; close, within what a service allows; or none of these."""

    DIFFERENT = 0
    CLOSE = 1
    FRAMES = 2
    BYTES = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Frame:
    """One frame of a clip to look at: its number from 0, its time, and its PSNR; None where it is equal or unknown."""

    number: int
    seconds: float
    decibels: float | None


@dataclass(frozen=True)
class Pictures:
    """Frames that two clips, or the one that two pictures, can be looked at by."""

    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Texts:
    """Two texts, line by line."""

    one: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """Words with the score that each result gives them; None where it does not tell them."""

    rows: tuple[tuple[str, float | None, float | None], ...]


@dataclass(frozen=True)
class Comparison:
    """The level that two results reach, the figures for it (plain values), a sentence, and what there is to look at."""

    level: Level
    figures: Mapping[str, Any]
    sentence: str
    exhibit: Pictures | Texts | Scores | None = field(default=None, compare=False)


Compare = Callable[[Path, Path], Comparison]
"""Compares two results whose bytes differ."""


class Unreadable(Exception):
    """A result is not what it should be, so that nothing can be compared. Says which and why."""


def compare(one: Path, other: Path, closely: Compare) -> Comparison:
    """Compare two results, `closely` where their bytes differ. Raises OSError, and MissingHere where a tool lacks."""
    digests = [_sha256(path) for path in (one, other)]
    if len(set(digests)) == 1:
        size = one.stat().st_size
        return Comparison(Level.BYTES, {"bytes": size, "sha256": digests[0]}, f"equal to the last of {size} bytes")
    try:
        return closely(one, other)
    except Unreadable as error:
        return Comparison(Level.DIFFERENT, {}, str(error))


def exactly(one: Path, other: Path) -> Comparison:
    """Compare results of which nothing is known but that their bytes differ."""
    sizes = [path.stat().st_size for path in (one, other)]
    place = _first_difference(one, other)
    sentence = f"different from byte {place} on, of {sizes[0]} and {sizes[1]}"
    return Comparison(Level.DIFFERENT, {"bytes": sizes, "first_difference": place}, sentence)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_difference(one: Path, other: Path) -> int:
    with one.open("rb") as first, other.open("rb") as second:
        place = 0
        while (ours := first.read(BLOCK)) == (theirs := second.read(BLOCK)) and ours:
            place += len(ours)
    return place + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
