"""Weighing: how much work each input of a job is goes into the journal, where plans are made from it.

With targets to choose from, that comes before the plan, and after the recall: what was made before is not weighed. With
this machine alone it is for plans to come: then a thread does it while the job runs, after the start, and behind
everything else that wants the processor.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from broker.broker import Broker
from broker.errors import OffloadError
from broker.job import Job
from broker.journal import Journal
from services.base.service import Params, Service

LATER_SECONDS = 0.4
"""When a job that takes any time worth measuring has started."""
LEAST_NICE = 19


def amounts(service: Service, params: Params, sources: Sequence[Path]) -> list[float | None]:
    """How much work each input is, in the service's unit."""
    return [service.amount(source, params) if service.unit else None for source in sources]


@contextmanager
def weighed(broker: Broker, job: Job, service: Service, params: Params, detach: bool) -> Iterator[None]:
    """Weigh a job's inputs: at once for one in the background, before a plan with a choice, else meanwhile."""

    def weigh(job: Job) -> None:
        if sources := _unknown(job):
            broker.journal.weigh(job.id, _known(service, params, sources))

    sources = _unknown(job)
    if not service.unit or not sources:
        yield
    elif detach:
        weigh(job)
        yield
    elif len(broker.targets) > 1:
        broker.weigh = weigh
        yield
    else:
        with _meanwhile(broker.settings.journal, job.id, service, params, sources):
            yield


@contextmanager
def _meanwhile(
    journal: Path, job: str, service: Service, params: Params, sources: Mapping[int, Path]
) -> Iterator[None]:
    def weigh() -> None:
        if sys.platform == "linux":  # there a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_NICE)
        found = _known(service, params, sources)
        with suppress(OffloadError), Journal(journal, mend=False) as opened:  # it is for plans to come
            opened.weigh(job, found)

    timer = threading.Timer(LATER_SECONDS, weigh)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _unknown(job: Job) -> dict[int, Path]:
    return {item.index: item.source for item in job.open_items if item.amount is None}


def _known(service: Service, params: Params, sources: Mapping[int, Path]) -> dict[int, float]:
    found = zip(sources, amounts(service, params, list(sources.values())), strict=True)
    return {index: amount for index, amount in found if amount is not None}
