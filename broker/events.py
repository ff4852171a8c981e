"""What a job tells while it is driven, as values an interface may draw, print or store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Started:
    """An attempt begins on `target`, for `reason`."""

    target: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """`fraction` (0-1) of item `index` is done, at `speed` times real time, with `eta` seconds to go."""

    index: int
    fraction: float
    speed: float
    eta: float


@dataclass(frozen=True)
class Note:
    """Something a person should hear of that is no error. `index` is None when it concerns the whole job."""

    message: str
    index: int | None = None


@dataclass(frozen=True)
class Published:
    """The outputs of item `index` are in place; `measured` is what its script found out on the way."""

    index: int
    paths: tuple[Path, ...]
    measured: Mapping[str, Any]


@dataclass(frozen=True)
class ItemFailed:
    """Item `index` failed for a reason of its own, of `kind` (see `broker.errors.EXIT_CODES`)."""

    index: int
    kind: str
    error: str


Event = Started | Progress | Note | Published | ItemFailed
