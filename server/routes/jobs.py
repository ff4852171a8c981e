"""Jobs: asked for, looked at, ended, tried again; their outputs and inputs, and what was said of them."""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from broker import followers
from broker import job as jobs
from broker.again import again
from broker.broker import Broker
from broker.errors import UsageError
from broker.lease import Held
from server import examples, files, folders, listing, schemas, snapshots, submission, wishes
from server.desk import Desk, desk
from server.problems import NotFound, Refusal, refusals
from services.base.text import plain

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

At = Annotated[Desk, Depends(desk)]
Id = Annotated[str, Path(description="a job's id", examples=["0123456789ab"])]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        description="a word of the client's own: the same wish, sent again with it, makes no second job",
        examples=["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
    ),
]
Only = Annotated[
    Literal["open", "queued", "running", "done", "partly", "failed", "cancelled"] | None,
    Query(alias="state", description="those in one state; open: not over"),
]
Before = Annotated[
    str | None,
    Query(pattern=listing.MARK, description="those older than the last of a page, which tells this as its `before`"),
]

While = Annotated[
    Literal["open"] | None,
    Query(alias="while", description="open: cancel only; what ended meanwhile is not removed"),
]

ID = re.compile(rf"[0-9a-f]{{{jobs.ID_CHARS}}}")
HELD_SECONDS = 2.0
"""How long it is waited for the driver of a job that has just ended to let go of it."""

TEXT = "text/plain; charset=utf-8"
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "A range of it", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "It is what the client has"},
}


@router.post(
    "",
    status_code=201,
    response_model=schemas.Job,
    operation_id="submit_job",
    summary="Ask for a job",
    responses={
        200: {"model": schemas.Job, "description": "The job that was asked for before with this Idempotency-Key"},
        201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "where the job is"}}},
        **refusals(409, 413, 415, 424, 503, 507),
    },
)
def submit(wish: wishes.Wish, at: At, response: Response, key: Key = None) -> schemas.Job:
    """Ask for a job. It is recorded when this is answered, and done in the background.

    409: an input was not uploaded, or no target may have it. 422: it makes no sense as it stands, or another job was
    asked for with the same Idempotency-Key. 424: a model, or a program, is not on the server's machine.
    """
    with at.broker() as broker:
        job, new = submission.submit(at, broker, wish, key)
        response.status_code = 201 if new else 200
        response.headers["Location"] = f"{router.prefix}/{job.id}"
        return snapshots.snapshot(broker, job.id)


@router.get(
    "",
    response_model=schemas.Jobs,
    operation_id="list_jobs",
    summary="The latest jobs",
    responses={200: listing.PAGE, **refusals()},
)
def latest(
    at: At,
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=200, description="how many at most")] = 50,
    service: Annotated[str | None, Query(max_length=100, description="those of one service")] = None,
    only: Only = None,
    before: Before = None,
) -> schemas.Jobs:
    """The latest jobs, newest first, whoever asked for them, here or on the command line, in pages."""
    with at.broker() as broker:
        found = listing.page(broker, limit, service, only, before)
    response.headers.update(listing.links(request.url, found))
    return found


@router.get(
    "/{job}", response_model=schemas.Job, operation_id="get_job", summary="A job as it is now", responses=refusals(404)
)
def one(job: Id, at: At) -> schemas.Job:
    """A job as it is now."""
    with at.broker() as broker:
        return snapshots.snapshot(broker, _found(broker, job).id)


@router.delete(
    "/{job}",
    response_model=schemas.Removed,
    operation_id="remove_job",
    summary="Cancel a job, or remove one that is over",
    responses=refusals(404, 409, 503),
)
def remove(job: Id, at: At, only: While = None) -> schemas.Removed:
    """Cancel a job; one that is over is removed, with all that the server keeps of it.

    Items that are done stay done. Results of a job that was typed on the command line stay where they are. 409: it is
    about to end, or is over and was to be cancelled only, or what it left on a target cannot be deleted now.
    """
    with at.broker() as broker:
        found = _found(broker, job)
        if not found.state.over:
            return _cancelled(broker, found)
        if only == "open":
            raise Refusal(409, f"job {found.id} is over already", "look at it as it is now")
        try:
            folders.remove(broker, found)
        except UsageError as error:
            raise Refusal(409, str(error), "ask again in a moment") from error
        return schemas.Removed(job=job, did="removed")


def _cancelled(broker: Broker, job: jobs.Job) -> schemas.Removed:
    try:
        silent = broker.cancel(job)
    except UsageError as error:  # it has just ended
        raise Refusal(409, str(error), "ask again to remove it") from error
    over = broker.journal.job(job.id).state.over
    if over:
        followers.forget(broker.settings, job.id)
    return schemas.Removed(job=job.id, did="cancelled" if over else "ending", silent=silent)


@router.post(
    "/{job}/retry",
    response_model=schemas.Job,
    operation_id="retry_job",
    summary="Do what is missing of a job",
    responses=refusals(404, 409, 503),
)
def retry(job: Id, at: At) -> schemas.Job:
    """Do what is missing of a job that failed, was cancelled, or has lost who saw to it. 409: nothing is missing."""
    with at.broker() as broker:
        _reopen(broker, _found(broker, job))
        broker.journal.detach(job)
        at.look_after()
        return snapshots.snapshot(broker, job)


def _reopen(broker: Broker, job: jobs.Job) -> None:
    """Have a job wait for its turn again. Raises Refusal for one that has its turn, or needs none."""
    if job.state is jobs.State.DONE:
        raise Refusal(409, f"job {job.id} is done: nothing is missing")
    try:
        found = again(broker, job, HELD_SECONDS)
    except Held as error:
        raise Refusal(409, f"job {job.id} is in somebody's hands", "ask again in a moment") from error
    if not (job.state.over or found.waits != job.waits) and broker.attended(job.id):
        raise Refusal(409, f"job {job.id} is not over", "DELETE cancels it")


@router.get(
    "/{job}/receipt",
    operation_id="get_receipt",
    summary="A job's receipt",
    response_class=Response,
    responses=examples.answer("The receipt", "application/json", examples.RECEIPT) | refusals(404),
)
def receipt(job: Id, at: At) -> Response:
    """What ran where and why, versions, hashes, timings: the document that the command line prints with --json."""
    with at.broker() as broker:
        told = snapshots.sound(broker.receipt(_found(broker, job).id))
    return Response(json.dumps(told), media_type="application/json")


@router.get(
    "/{job}/log",
    operation_id="get_log",
    summary="What a job's script logged",
    response_class=Response,
    responses=examples.answer("The logs, attempt by attempt", TEXT, examples.LOG) | refusals(404),
)
def log(job: Id, at: At) -> Response:
    """What the job's script said, attempt by attempt; of one that runs, so far."""
    lines: list[str] = []
    with at.broker() as broker:
        for attempt, text in broker.logs(_found(broker, job)):
            lines.append(f"--- attempt {attempt.number} on {attempt.target}: {attempt.state}")
            lines += text.splitlines()
    return Response("".join(f"{plain(line)}\n" for line in lines), media_type=TEXT)


Download = Annotated[bool, Query(description="have it saved, not shown")]


@router.head(
    "/{job}/outputs/{name}",
    operation_id="head_output",
    summary="About an output",
    response_class=Response,
    responses={**FILE, **refusals(404, 416)},
)
@router.get(
    "/{job}/outputs/{name}",
    operation_id="get_output",
    summary="An output",
    response_class=Response,
    responses={**FILE, **refusals(404, 416)},
)
def output(job: Id, name: str, at: At, request: Request, download: Download = False) -> Response:
    """An output of a job, in whole or a `Range` of it; the ETag begins with the sha256 of what was published.

    404, too, when it is not any more of that size. Whether it was edited since, the sha256 tells whoever downloads it.
    """
    with at.broker() as broker:
        found = _found(broker, job)
    for item in found.items:
        for made in item.outputs:
            if made.published and snapshots.output_name(item, made) == name:
                return files.answer(request, _output(made), download)
    raise NotFound(f"job {found.id} has no output {plain(name)[:200]!r}")


def _output(made: jobs.Output) -> files.Served:
    def is_same(found: os.stat_result) -> bool:
        return found.st_size == made.size

    name = made.dest.name
    return files.Served(made.dest, is_same, made.sha256 or "", snapshots.kind(made.dest), name, f"the output {name}")


@router.head(
    "/{job}/inputs/{index}",
    operation_id="head_input",
    summary="About an input",
    response_class=Response,
    responses={**FILE, **refusals(404, 416)},
)
@router.get(
    "/{job}/inputs/{index}",
    operation_id="get_input",
    summary="An input",
    response_class=Response,
    responses={**FILE, **refusals(404, 416)},
)
def input_(
    job: Id,
    index: Annotated[int, Path(ge=0, le=10**6, description="which, from 0")],
    at: At,
    request: Request,
    download: Download = False,
) -> Response:
    """An input of a job, as `outputs`. 404, too, when it is not any more what it was when the job was made."""
    with at.broker() as broker:
        found = _found(broker, job)
    if index >= len(found.items):
        raise NotFound(f"job {found.id} has no input {index}: it has {len(found.items)}")
    return files.answer(request, _input(found.items[index]), download)


def _input(item: jobs.Item) -> files.Served:
    def is_same(found: os.stat_result) -> bool:
        return jobs.FileId.told(found).is_like(item.file_id)

    name = item.source.name
    return files.Served(item.source, is_same, item.sha256, snapshots.kind(item.source), name, f"the input {name}")


def _found(broker: Broker, job: str) -> jobs.Job:
    """A job by its id. Raises NotFound."""
    if not ID.fullmatch(job) or job not in broker.journal.with_prefix(job):
        raise NotFound(f"no job is named {plain(job)[:100]!r}", "GET /v1/jobs")
    return broker.journal.job(job)
