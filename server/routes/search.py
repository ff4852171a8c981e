"""Search: moments in everything that was tagged, by what they show."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Query, Request

from broker.broker import Broker
from broker.errors import Interrupted, UsageError
from broker.models import catalogue
from broker.settings import Settings
from broker.stop import Stop
from server import problems, schemas, snapshots
from server.desk import Desk, desk
from server.leaving import left
from services.base import moments, tagged
from services.base.text import plain

router = APIRouter(prefix="/v1/search", tags=["search"])

ALONE = CapacityLimiter(1)
"""Each search loads a model: the next one waits, and holds no thread meanwhile."""

Text = Annotated[str, Query(max_length=1000, pattern=r"\S", description="what is to be seen", examples=["a beach"])]
Top = Annotated[int, Query(ge=1, le=1000, description="how many moments to tell")]
Model = Annotated[
    str | None, Query(max_length=200, description="the model of the catalogue that they were tagged with, if not known")
]


@router.get("", response_model=schemas.Found, operation_id="search", responses=problems.refusals(409, 424, 503, 507))
async def search(
    request: Request, at: Annotated[Desk, Depends(desk)], text: Text, top: Top = 5, model: Model = None
) -> schemas.Found:
    """Find moments in everything tagged so far, by what they show, the best first. It takes seconds: a model is loaded.

    It is a job on the server's machine, and waits for its turn there, one search at a time; it asks no network. Who
    goes away ends it. `left_out` is what could not be looked at.
    """
    stop = Stop()
    leaving = asyncio.ensure_future(_stopped(request, stop))
    try:
        return await to_thread.run_sync(_found, at.settings, text, top, model, stop, limiter=ALONE)
    finally:
        leaving.cancel()


async def _stopped(request: Request, stop: Stop) -> None:
    await left(request)
    stop.request()


def _found(settings: Settings, text: str, top: int, model: str | None, stop: Stop) -> schemas.Found:
    _check_model(model)
    if stop.requested:
        raise Interrupted("whoever searched is gone")
    with Broker(settings.model_copy(update={"offline": True})) as broker:
        entries, others = tagged.everything(broker)
        said = [plain(line) for line in moments.remarks(entries, others, _name)]
        if not entries:
            return schemas.Found(moments=[], left_out=[moments.NOTHING, *said])
        found = moments.search(broker, entries, text, top, model, stop)
    return schemas.Found(moments=[*map(_moment, found)], left_out=said)


def _check_model(model: str | None) -> None:
    """Names of the catalogue only: no place here, no repository, no address."""
    names = [entry.name for entry in catalogue.entries() if entry.service == tagged.SERVICE]
    if model is not None and model not in names:
        raise UsageError(f"there is no such model to search with; there are: {', '.join(names)}", "/v1/models")


def _moment(moment: moments.Moment) -> schemas.Moment:
    entry = moment.entry
    assert entry.item is not None  # all of it was tagged by jobs of the journal
    return schemas.Moment(
        job=entry.job,
        item=entry.item.index,
        name=_name(entry.clip),
        seconds=moment.seconds,
        score=moment.score,
        viewable=snapshots.viewable(entry.item),
    )


def _name(path: Path) -> str:
    return plain(path.name)
