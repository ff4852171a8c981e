"""Jobs as they change, as server-sent events: always a job in whole, so who misses some has missed nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server import problems
from server.desk import Desk, desk
from server.examples import EVENT
from server.listeners import STILL, News
from server.schemas import Gone

router = APIRouter(prefix="/v1", tags=["events"])

AGAIN_MS = 1000
"""After how long a browser whose connection was lost comes back."""

STILL_SECONDS = 15.0
"""How often a stream on which nothing happens says that it is alive."""

ALIVE = format_sse_event(event="still", data_str="")
"""An event, and no comment: those a browser keeps from its page, which could not tell quiet from hung."""

At = Annotated[Desk, Depends(desk)]


class EventStream(StreamingResponse):
    """What is heard, as server-sent events. It is let go of when the client is, also while that does not read."""

    media_type = "text/event-stream"

    def __init__(self, heard: AsyncGenerator[News]) -> None:
        self._events = _events(heard)
        super().__init__(self._events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until the client is gone. To HEAD nothing is streamed."""
        async with aclosing(self._events):
            if scope["method"] != "HEAD":
                await super().__call__(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})


async def _events(heard: AsyncGenerator[News]) -> AsyncGenerator[bytes]:
    async with aclosing(heard):
        yield format_sse_event(retry=AGAIN_MS)
        async for news in heard:
            yield ALIVE if news is STILL else news.event


def told(description: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route says in the API's description that it streams jobs."""
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [{"$ref": "#/components/schemas/Job"}, Gone.model_json_schema()]},
        "description": "empty for `still`, which comes when nothing else did for a while",
    }
    fields = {
        "event": {"enum": ["job", "gone", "still"]},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
        "data": data,
    }
    item = {"itemSchema": {"type": "object", "properties": fields}, "example": EVENT}
    return {
        200: {"description": description, "content": {EventStream.media_type: item}},
        **problems.refusals(*statuses),
    }


def existing(job: Annotated[str, Path(description="a job's id", examples=["0123456789ab"])], at: At) -> str:
    """The id of a job that is there. Raises NotFound, before anything is streamed."""
    with at.broker() as broker:
        if job not in broker.journal.knows([job]):
            raise problems.NotFound(f"no job is named {job[:100]!r}", "GET /v1/jobs")
    return job


@router.get(
    "/jobs/{job}/events",
    status_code=200,  # which is not told of this class of response
    response_class=EventStream,
    operation_id="watch_job",
    summary="A job as it changes",
    responses=told("`event: job` at once and at each change, `event: gone` if it is removed", 404),
)
async def watch_job(
    job: Annotated[str, Depends(existing)],
    at: At,
    last_event_id: Annotated[str | None, Header(description="the revision that is known already")] = None,
) -> EventStream:
    """A job as it is now and at each change, until it is over. The `id` of an event is its revision."""
    return EventStream(at.watcher.job(job, last_event_id, STILL_SECONDS))


@router.get(
    "/events",
    status_code=200,
    response_class=EventStream,
    operation_id="watch_jobs",
    summary="All jobs as they change",
    responses=told("`event: job` for the open jobs, the latest, and each that changes; `event: gone`"),
)
async def watch_jobs(at: At) -> EventStream:
    """All jobs: first those that are open and the latest 20, then each that changes or is removed. It does not end."""
    return EventStream(at.watcher.everything(STILL_SECONDS))
