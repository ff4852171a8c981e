"""Jobs as they change, as server-sent events: always a job in whole, so who misses some has missed nothing."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from fastapi.sse import EventSourceResponse, ServerSentEvent

from server import problems
from server.desk import Desk, desk
from server.listeners import News
from server.schemas import Gone, Job

router = APIRouter(prefix="/v1", tags=["events"])

AGAIN_MS = 1000
"""After how long a browser whose connection is lost comes back."""

At = Annotated[Desk, Depends(desk)]


def existing(job: Annotated[str, Path(description="a job's id", examples=["0123456789ab"])], at: At) -> str:
    """The id of a job that is there. Raises NotFound, before anything is streamed."""
    with at.broker() as broker:
        if job not in broker.journal.knows([job]):
            raise problems.NotFound(f"no job {job[:100]!r}", "GET /v1/jobs lists them")
    return job


@router.get(
    "/jobs/{job}/events",
    response_class=EventSourceResponse,
    operation_id="watch_job",
    summary="A job as it changes",
    response_description="`event: job` at once and at each change; `event: gone` if it is removed.",
    responses=problems.refusals(404),
)
async def watch_job(
    job: Annotated[str, Depends(existing)],
    at: At,
    last_event_id: Annotated[str | None, Header(description="The revision that is known already.")] = None,
) -> AsyncIterable[Job | Gone]:
    """A job as it is now and at each change, until it is over. The `id` of an event is its revision."""
    yield _hello()
    async with aclosing(at.watcher.job(job, last_event_id)) as heard:
        async for news in heard:
            yield _event(news)


@router.get(
    "/events",
    response_class=EventSourceResponse,
    operation_id="watch_jobs",
    summary="All jobs as they change",
    response_description="`event: job` for each open job and the latest, and for each that changes; `event: gone`.",
    responses=problems.refusals(),
)
async def watch_jobs(at: At) -> AsyncIterable[Job | Gone]:
    """All jobs: first those that are open and the latest 20, then each that changes or is removed. It does not end."""
    yield _hello()
    async with aclosing(at.watcher.everything()) as heard:
        async for news in heard:
            yield _event(news)


def _hello() -> Any:
    return ServerSentEvent(retry=AGAIN_MS)


def _event(news: News) -> Any:
    # Made once, however many listen: what the routes say they yield is in its data.
    kind = "gone" if news.gone else "job"
    return ServerSentEvent(event=kind, id=news.revision or None, raw_data=news.data)
