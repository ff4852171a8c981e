"""Asking for the same again: with other destinations, so that it is another job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker import settings
from broker.broker import Broker
from broker.job import Attempt, Request
from broker.recall import CACHE
from broker.results import Results
from tests.broker.jobs import request

SCRIPT = """\
# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
import os, sys
from _job import Result, run

def make(job, item):
    if job.ease < job.params.get("ease", 0):
        raise MemoryError("the batch is too large")
    job.emit("versions", versions=job.params["told"])
    path = item.out / "worked.bin"
    path.write_bytes(item.input.read_bytes() + os.urandom(16))
    return Result((path,), {"made": 1})

sys.exit(run(make))
"""
"""Never makes the same twice."""


def elsewhere(asked: Request, folder: Path, **changes: Any) -> Request:
    """The same request, whose outputs go to another folder."""
    folder.mkdir(exist_ok=True)
    inputs = [
        replace(entry, outputs={name: folder / dest.name for name, dest in entry.outputs.items()})
        for entry in asked.inputs
    ]
    return replace(asked, inputs=tuple(inputs), **changes)


def unique(folder: Path, *contents: bytes, told: dict[str, str] | None = None, ease: int = 0, **own: Any) -> Request:
    """A request whose script tells these versions, and never makes the same twice."""
    asked = request(folder, *contents)
    script = folder.parent / "unique.py"
    script.write_text(SCRIPT)
    return replace(asked, script=script, params={"told": told or {}, "ease": ease}, **own)


def made(asked: Request) -> list[bytes]:
    """What is at the destinations."""
    return [dest.read_bytes() for entry in asked.inputs for dest in entry.outputs.values()]


def attempts(broker: Broker, asked: Request) -> list[Attempt]:
    """The attempts of the last job of a request."""
    dests = {dest for entry in asked.inputs for dest in entry.outputs.values()}
    jobs = [job for job in broker.journal.jobs() if {out.dest for item in job.items for out in item.outputs} == dests]
    return broker.journal.attempts(jobs[0].id)


def runs(broker: Broker) -> int:
    """How often anything was really run."""
    found = [attempt for job in broker.journal.jobs(1000) for attempt in broker.journal.attempts(job.id)]
    return sum(attempt.target != CACHE for attempt in found)


def kept(broker: Broker) -> Results:
    """The results that are kept."""
    config = broker.settings
    return Results(config.cache_dir / "results", broker.journal.results, config.result_bytes)


def files(broker: Broker) -> list[Path]:
    """The files that are kept."""
    folder = broker.settings.cache_dir / "results"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@contextmanager
def reopened(**changes: Any) -> Iterator[Broker]:
    """A broker of the same folders, with other settings."""
    with Broker(settings.load().model_copy(update=changes)) as broker:
        yield broker
