"""What is learned from an attempt: how long its parts took, and what lies on its target now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from broker.agent import Agent
from broker.errors import OffloadError
from broker.events import Event
from broker.history import ASKED, COLD, Observation
from broker.job import Item, Job
from broker.ledger import Ledger
from broker.reports import Done, Models, Report
from broker.targets import LOCAL, Target
from broker.wheels import Wants
from broker.work import Work
from executors.base import ExecutorError
from executors.rented import Holding

BIG = 1_000_000
"""Bytes from which on a transfer tells of the link's speed; what takes time of a smaller one is mostly the way."""
READY_SECONDS = 0.5
"""How long a script takes to start that said nothing before it was done."""
SILENT = 0.02
"""Shares of a script's time: what comes so soon before its end came with it, in one batch."""


class Sheet:
    """Where an attempt writes down what is to be learned from it.

    Its clock cannot be set, and does not count the time that this machine was suspended.
    """

    def __init__(self) -> None:
        self.began = 0.0
        self.visits = self.staged = 0
        self.items: tuple[Item, ...] = ()
        self.blobs: list[str] = []
        self.whole, self.cold = True, False
        self.curious, self.facts = False, dict[str, Any]()
        self.heard_done = set[int]()
        self._started = self._ready = self._done = 0.0

    def staged_in(self, items: Iterable[Item], sent: Iterable[Item], resumes: bool, shared: bool) -> None:
        """The inputs of `items` are on the target, as they were `sent`. One that `resumes` does only a part."""
        self.items, self.whole = tuple(items), not resumes
        self.blobs = [] if shared else [item.sha256 for item in sent]

    def count(self, sent: int) -> None:
        """So many bytes have travelled to the target."""
        self.staged += sent

    def started(self) -> None:
        """The script is about to be started."""
        self._started, self._ready, self._done = time.monotonic(), 0.0, 0.0

    def heard(self, report: Report | None) -> None:
        """The script has reported."""
        if report is None or isinstance(report, Wants | Models):
            return
        now = time.monotonic()
        self._ready = self._ready or now
        if isinstance(report, Done):
            self._done = now
            self.heard_done.add(report.index)

    def look(self, agent: Agent) -> None:
        """Ask the target what it has, if that is not known: it tells how fast it is where nothing was measured."""
        if self.curious:
            with suppress(ExecutorError, OffloadError):  # the job is done: this is for the next
                self.facts = facts(agent.facts())

    @property
    def work(self) -> float:
        """Seconds from when the script was ready to when its last item was done."""
        whole, worked = self._done - self._started, self._done - self._ready
        return max(whole - READY_SECONDS, whole / 2) if worked < SILENT * whole else worked

    @property
    def tail(self) -> float:
        """Seconds since the last item was done."""
        return time.monotonic() - self._done

    @property
    def finished(self) -> bool:
        """Whether it went through in one go."""
        return bool(self._done) and self.visits == 1 and self.whole


@contextmanager
def timed(timings: dict[str, float], phase: str) -> Iterator[None]:
    """Add the seconds that a phase of an attempt takes to its `timings`."""
    started = time.monotonic()
    try:
        yield
    finally:
        timings[phase] = round(timings.get(phase, 0.0) + time.monotonic() - started, 3)


class Attempted(Protocol):
    """What is measured: an attempt, driven by iterating it."""

    sheet: Sheet
    timings: dict[str, float]

    def __iter__(self) -> Iterator[Event]: ...


def measured(run: Attempted, ledger: Ledger, target: Target, again: bool, prepares: bool) -> Iterator[Event]:
    """Drive an attempt, and remember what it tells of its target. One that was taken up `again` tells no times."""
    history, health = ledger.journal.history, ledger.journal.health
    known, before = health.known(target), target.holding()
    run.sheet.curious = target.name != LOCAL and (known is None or None in (known.cpus, known.disk_free_bytes))
    run.sheet.began = time.monotonic()
    try:
        yield from run
    finally:
        run.sheet.cold = _name(target.holding()) not in ("", _name(before))
        with suppress(OffloadError):  # a full disk, say: the next one is measured
            history.note_sent(target, run.sheet.blobs)
            if run.sheet.facts:
                health.learned(target, **run.sheet.facts)
    if run.sheet.finished and not again:
        run.timings["work"] = round(run.sheet.work, 3)
        with suppress(OffloadError):  # nor is it worth a job
            made = _prepared(run, ledger.job) if prepares else _observed(run, ledger.job, target)
            ledger.observe(target, made)


def _prepared(run: Attempted, job: Job) -> list[Observation]:
    items = _now(run.sheet.items, job)
    payloads = [item.payload for item in items if item.payload]
    if len(payloads) < len(items):
        return []
    work, took = Work.of(job, items), time.monotonic() - run.sheet.began
    about = {"kind": str(work.kind), "service": job.service}
    made = float(sum(payload.size for payload in payloads))
    found = [Observation("prepare", work.amount, took, **about), Observation("payload", work.amount, made, **about)]
    return found if work.amount else []


def _observed(run: Attempted, job: Job, target: Target) -> list[Observation]:
    sheet, items = run.sheet, _now(run.sheet.items, job)
    work, shared = Work.of(job, items), target.executor().local_path("jobs") is not None
    about = {"kind": str(work.kind), "service": job.service}
    out = float(sum(output.size or 0 for item in items for output in item.outputs))
    moved = _moved(run, 0 if shared else out)
    rest = time.monotonic() - sheet.began - sheet.work - sum(one.seconds for one in moved if one.what == "up")
    rest -= sheet.tail if any(one.what == "down" for one in moved) else 0.0
    if any(item.done and item.index not in sheet.heard_done for item in items):
        return moved  # another was quicker: what it was at in vain is in its time, too
    found = [Observation(COLD if sheet.cold else "start", 1.0, max(rest, 0.0), **about), *moved]
    if work.amount and all(item.done for item in items):
        found += [Observation("run", work.amount, sheet.work, **about), Observation("out", work.amount, out, **about)]
    return found


def _name(holding: Holding | None) -> str:
    return holding.name if holding else ""


def _moved(run: Attempted, out: float) -> list[Observation]:
    ways = (("up", float(run.sheet.staged), "stage_in"), ("down", out, "stage_out"))
    return [
        Observation(way, size, run.timings[phase])
        for way, size, phase in ways
        if size >= BIG and run.timings.get(phase, 0.0) > 0
    ]


def _now(items: Iterable[Item], job: Job) -> list[Item]:
    """The items as they are now."""
    return [job.items[item.index] for item in items]


def recheck(ledger: Ledger, agent: Agent, target: str) -> None:
    """Forget the blobs that are not on an entered target any more: it has just deleted what is old, or too much."""
    history = ledger.journal.history
    known = history.sent_to(target)
    for start in range(0, len(known), ASKED // 5):
        told = agent.parts(known[start : start + ASKED // 5])
        history.drop_sent(target, [sha256 for sha256, one in told.items() if not one["here"]])


def facts(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a machine says of itself, as fields of a Probe."""
    gpu = told.get("gpu") or {}
    same = {name: told.get(name) for name in ("cpus", "memory_bytes", "disk_free_bytes")}
    return {**same, "gpu": gpu.get("name"), "gpu_memory_bytes": gpu.get("memory_bytes")}
