"""Histories of jobs that really ran, recorded, and what reads them. See `record.py` for how they were made.

here.json    this machine's other work kept out by `nice`
busy.json    an earlier, shorter run of the same, with several test suites at work beside it, which came and went
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.history import Observation
from broker.work import Kind, Work

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Past:
    """A job as it was: its work, where it ran, the seconds it took, and what was measured of it."""

    work: Work
    target: str
    took: float
    observed: tuple[Observation, ...]


def recorded(name: str) -> list[Past]:
    """The jobs of a recording, in the order they ran."""
    return [_past(entry) for entry in json.loads((FOLDER / f"{name}.json").read_text())["jobs"]]


def _past(entry: Mapping[str, Any]) -> Past:
    unit, models, params = entry["kind"].split("/")
    blobs = {str(number): size for number, size in enumerate(entry["blobs"])}
    work = Work(entry["service"], Kind(unit, models, params), entry["amount"], len(blobs), blobs)
    observed = tuple(
        Observation(what, amount, seconds, kind, entry["service"] if kind else "")
        for what, amount, seconds, kind in entry["observed"]
    )
    return Past(work, entry["target"], entry["took"], observed)
