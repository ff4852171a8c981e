"""Weighing: how much work each input of a job is goes into the journal, where plans are made from it.

With targets to choose from, that comes before the plan, and after the recall: what was made before is not weighed. With
this machine alone it is for plans to come: then what the script measures tells (`broker.work.told`).

To look at a header takes milliseconds: of a thousand inputs, a plan before there is a job has only some looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from broker.broker import Broker
from broker.job import Job
from services.base.service import Params, Service

LOOKED_AT = 32
"""How many inputs of a suffix are looked at for an estimate."""


def amounts(service: Service, params: Params, sources: Sequence[Path]) -> list[float | None]:
    """How much work each input is, in the service's unit."""
    return [service.amount(source, params) if service.unit else None for source in sources]


def estimated(service: Service, params: Params, sources: Sequence[Path]) -> list[float | None]:
    """As `amounts`, for a plan: of many that end alike only some are looked at. How large they are tells the rest."""
    there = sorted((source for source in sources if source.is_file()), key=_suffix)
    some = [source for _, alike in groupby(there, key=_suffix) for source in _some(list(alike))]
    found = dict(zip(some, amounts(service, params, some), strict=True))
    return [found.get(source) for source in sources]


def _suffix(source: Path) -> str:
    return source.suffix.lower()


def _some(sources: Sequence[Path]) -> Sequence[Path]:
    return sources[:: math.ceil(len(sources) / LOOKED_AT)]


def weigh(broker: Broker, job: Job, service: Service, params: Params, detach: bool) -> None:
    """Weigh a job's inputs: at once for one in the background, else before a plan with a choice."""

    def now(job: Job) -> None:
        if sources := _unknown(job):
            broker.journal.weigh(job.id, _known(service, params, sources))

    if service.unit and detach:
        now(job)
    elif service.unit and len(broker.targets) > 1:
        broker.weigh = now


def _unknown(job: Job) -> dict[int, Path]:
    return {item.index: item.source for item in job.open_items if item.amount is None}


def _known(service: Service, params: Params, sources: Mapping[int, Path]) -> dict[int, float]:
    found = zip(sources, amounts(service, params, list(sources.values())), strict=True)
    return {index: amount for index, amount in found if amount is not None}
