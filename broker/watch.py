"""Watching a job that another process drives: what the journal tells of it, as the events its driver would tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from broker.errors import OffloadError
from broker.events import Event, ItemFailed, Note, Progress, Published, Started
from broker.job import Item
from broker.journal import Journal
from broker.stop import Stop
from broker.waiting import REMOTE, is_late

LOOK_SECONDS = 0.3


class Left(OffloadError):
    """We were asked to stop watching; the job goes on."""

    exit_code = 130


def watch(journal: Journal, job: str, driven: Callable[[str], bool], stop: Stop) -> Iterator[Event]:
    """Tell what happens to a job until it is over, or nobody drives it any more. Raises Left when stopped."""
    told: dict[int, float] = {}
    attempt, waits = 0, ""
    yield Note(f"job {job} {_how(journal, job)}; watching it")
    while True:
        driving = driven(job)  # asked first: a driver writes its last word before it goes
        over = journal.job(job).state.over
        before, waits = waits, journal.ending(job).error  # now, and not after what is told: that may take its time
        for latest in journal.attempts(job)[-1:]:
            if latest.number != attempt and not over:
                yield Started(latest.target, latest.reason)
            attempt = latest.number
        yield from _news(journal, job, told)
        if over:
            return
        if stop.requested:
            raise Left(f"job {job} goes on without you", f"offload jobs attach {job}")
        if not driving:
            yield Note(f"job {job} has lost its driver; going on with it here")
            return
        if waits and waits != before:
            yield Note(waits)
        stop.sleep(LOOK_SECONDS)


def _how(journal: Journal, job: str) -> str:
    if not journal.queue.has(job):
        return "is being seen through by another process"
    found = journal.job(job)
    if not found.waits or is_late(found):
        return "waits in the background, until it is its turn"
    until = time.strftime(", at most until %Y-%m-%d %H:%M", time.localtime(found.deadline)) if found.deadline else ""
    which = "" if found.on in ("auto", REMOTE) else f" ({found.on})"
    return f"waits in the background for another machine than this one{which}{until}"


def _news(journal: Journal, job: str, told: dict[int, float]) -> Iterator[Event]:
    with journal.looking():
        found = [*zip(journal.job(job).items, journal.progress(job), strict=True)]
    for item, fraction in found:
        if not item.open:
            fraction = 2.0  # beyond all progress: told once
        if fraction > told.get(item.index, 0.0):
            told[item.index] = fraction
            yield _event(item, fraction)


def _event(item: Item, fraction: float) -> Event:
    if item.kind is not None:
        return ItemFailed(item.index, item.kind, item.error or "")
    if item.done:
        return Published(item.index, tuple(output.dest for output in item.outputs), item.measured)
    return Progress(item.index, fraction, 0.0, 0.0)
