"""Work: what a job asks of a machine, as far as its speed depends on it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.job import Item, Job, Payload, Request
from broker.models import catalogue

BYTES = "bytes"
"""The unit of work of which nobody could tell the amount: the size of its files."""


def _pixels(measured: Mapping[str, Any]) -> float:
    width, height = measured.get("from") or (measured["width"], measured["height"])
    return float(measured["frames"] * width * height)


UNITS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "pixels": _pixels,
    "seconds": lambda measured: float(measured["seconds"]),
    "pictures": lambda measured: float(measured["frames"]),
}
"""How an amount is read from what a script measured of its item."""


def told(unit: str, measured: Mapping[str, Any]) -> float | None:
    """How much work an item was, by what its script measured of it; None where that does not tell."""
    with suppress(KeyError, TypeError, ValueError, ArithmeticError):  # a target may say anything
        amount = UNITS[unit](measured)
        return amount if math.isfinite(amount) and amount > 0 else None
    return None


@dataclass(frozen=True)
class Kind:
    """What decides the speed of a job, apart from the machine and the amount: its unit, its models, its parameters."""

    unit: str
    models: str
    params: str

    def __str__(self) -> str:
        return f"{self.unit}/{self.models}/{self.params}"

    @classmethod
    def of(cls, told: Job | Request, unit: str, digests: Mapping[str, str]) -> Kind:
        """The kind of a job, or of a request with what its models are now."""
        how = [dict(told.params), sorted(told.extras), dict(told.prepare.params) if told.prepare else {}]
        models = _digest(dict(digests) or dict(told.models)) if told.models else "-"
        return cls(unit, models, _digest(how))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Load:
    """One input: how much work it is in the job's unit, None if that is not known; its file, and its payload if any."""

    source: Path
    sha256: str
    size: int
    amount: float | None
    payload: Payload | None = None

    @classmethod
    def of(cls, item: Item) -> Load:
        """The load of an item."""
        return cls(item.source, item.sha256, item.file_id.size, item.amount, item.payload)


@dataclass(frozen=True)
class Work:
    """A job, or what is left of it. `amount` is in `kind.unit`; `blobs` (sha256 -> bytes) would travel.

    `unprepared` is how much of the amount is still to be prepared here. `weights` is the size in bytes of its models
    and `memory` what they need, as far as the catalogue knows.
    """

    service: str
    kind: Kind
    amount: float
    items: int
    blobs: Mapping[str, int]
    unprepared: float = 0.0
    weights: int | None = None
    memory: int | None = None

    @classmethod
    def of(cls, job: Job, items: Iterable[Item] | None = None) -> Work:
        """The work of a job's open items, or of those given."""
        loads = [Load.of(item) for item in (job.open_items if items is None else items)]
        return cls.made(job, loads, job.digests)

    @classmethod
    def made(cls, told: Job | Request, loads: Sequence[Load], digests: Mapping[str, str]) -> Work:
        """The work of some inputs of a job or a request."""
        unit, amounts = weighed(told.unit, loads)
        found = list(zip(loads, amounts, strict=True))
        waiting = [amount for load, amount in found if told.prepare is not None and load.payload is None]
        entries = [catalogue.about(source) for source in told.models.values()]
        return cls(
            service=told.service,
            kind=Kind.of(told, unit, digests),
            amount=sum(amount for _, amount in found),
            items=len(found),
            blobs=_blobs(told.prepare is not None, loads),
            unprepared=sum(waiting),
            weights=sum(entry.size_bytes or 0 for entry in entries) or None,
            memory=max((entry.memory_bytes or 0 for entry in entries), default=0) or None,
        )


def weighed(unit: str, loads: Sequence[Load]) -> tuple[str, list[float]]:
    """How much work each input is, and in which unit: `unit`, or the bytes of the files where it is known of none.

    One of which it is not known, a broken file say, counts by its size, as the others do that end alike.
    """
    known = [load for load in loads if load.amount is not None]
    if not unit or not known:
        return BYTES, [float(load.size) for load in loads]
    endings = {_ending(load) for load in loads}
    rates = {end: _rate([load for load in known if _ending(load) == end] or known) for end in endings}
    return unit, [rates[_ending(load)] * load.size if load.amount is None else load.amount for load in loads]


def _ending(load: Load) -> str:
    return load.source.suffix.lower()


def _rate(known: Sequence[Load]) -> float:
    """Units of work a byte."""
    return sum(load.amount or 0.0 for load in known) / max(sum(load.size for load in known), 1)


def _blobs(prepared: bool, loads: Iterable[Load]) -> dict[str, int]:
    if not prepared:
        return {load.sha256: load.size for load in loads}
    return {load.payload.sha256: load.payload.size for load in loads if load.payload}
