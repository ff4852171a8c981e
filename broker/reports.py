"""What a script reports, as values. A target is not trusted: what makes no sense counts as never said."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from broker import wheels
from broker.errors import EXIT_CODES
from broker.events import ItemFailed, Note, Progress
from broker.wheels import Wants

SHA256 = re.compile("[0-9a-f]{64}")
CHECKPOINT = re.compile("[a-z0-9][a-z0-9_-]{0,63}")
"""Names a checkpoint may have: they become paths, here and on targets."""
MESSAGE_CHARS = 2000
MOST_VERSIONS, MOST_NUMBER = 64, 2**63
"""Most versions that one event tells of, and what no number in them reaches."""
MOST_FILES = 10_000
"""Most files of models that a target may say it lacks."""
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names a version may have."""


@dataclass(frozen=True)
class Versions:
    """What the script runs with."""

    versions: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """Item `index` is done: `files` maps each name to size and sha256."""

    index: int
    files: Mapping[str, tuple[int, str]]
    measured: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A finished piece of item `index`, which a later attempt need not do again."""

    index: int
    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Models:
    """Files of models, by sha256, that the target lacks and cannot fetch, and why."""

    files: frozenset[str]
    why: str


Report = Progress | Note | Versions | Wants | Models | Checkpoint | Done | ItemFailed


def read(event: Mapping[str, Any], items: int) -> Report | None:
    """Make a value of an event of a job with `items` items; None when it is not one of the contract's."""
    with suppress(KeyError, TypeError, ValueError, OverflowError, AttributeError):
        report = READERS[event["type"]](event)
        return report if _concerns_it(report, items) else None
    return None


def _concerns_it(report: Report, items: int) -> bool:
    if isinstance(report, Versions | Wants | Models) or (isinstance(report, Note) and report.index is None):
        return True
    return type(report.index) is int and 0 <= report.index < items


def plain(text: object) -> str:
    """Text from elsewhere, on one line, without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in str(text))[:MESSAGE_CHARS]


def _progress(event: Mapping[str, Any]) -> Progress:
    fraction = min(max(_number(event["fraction"]), 0.0), 1.0)
    return Progress(event["index"], fraction, _number(event.get("speed", 0.0)), _number(event.get("eta", 0.0)))


def _number(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _note(event: Mapping[str, Any]) -> Note:
    return Note(plain(event["message"]), event.get("index"))


def _versions(event: Mapping[str, Any]) -> Versions:
    told = [(name, value) for name, value in event["versions"].items() if NAME.fullmatch(name) and _is_plain(value)]
    return Versions({name: plain(value) if isinstance(value, str) else value for name, value in told[:MOST_VERSIONS]})


def _is_plain(value: object) -> bool:
    return isinstance(value, str | bool) or (isinstance(value, int | float) and abs(value) < MOST_NUMBER)


def _checkpoint(event: Mapping[str, Any]) -> Checkpoint:
    name = event["name"]
    if not CHECKPOINT.fullmatch(name):
        raise ValueError(name)
    return Checkpoint(event["index"], name, _size(event["size"]), _sha256(event["sha256"]))


def _wants(event: Mapping[str, Any]) -> Wants:
    return wheels.read(event["wheels"])


def _models(event: Mapping[str, Any]) -> Models:
    files = [_sha256(sha256) for model in event["models"] for sha256 in model["files"]]
    if len(files) > MOST_FILES:
        raise ValueError(len(files))
    return Models(frozenset(files), "; ".join(dict.fromkeys(plain(model["why"]) for model in event["models"])))


def _done(event: Mapping[str, Any]) -> Done:
    files = {str(file["name"]): (_size(file["size"]), _sha256(file["sha256"])) for file in event["files"]}
    return Done(event["index"], files, dict(event.get("measured", {})))


def _size(size: object) -> int:
    if type(size) is not int or size < 0:
        raise ValueError(size)
    return size


def _sha256(sha256: str) -> str:
    if not SHA256.fullmatch(sha256):
        raise ValueError(sha256)
    return sha256


def _failed(event: Mapping[str, Any]) -> ItemFailed:
    kind = event["kind"] if event["kind"] in EXIT_CODES else "failed"
    return ItemFailed(event["index"], kind, plain(event["error"]))


READERS: Mapping[str, Callable[[Mapping[str, Any]], Report]] = {
    "progress": _progress,
    "log": _note,
    "versions": _versions,
    "wants": _wants,
    "lacks": _models,
    "checkpoint": _checkpoint,
    "item_done": _done,
    "item_failed": _failed,
}
