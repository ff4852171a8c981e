"""Speech to text as OpenAI's API has it: its clients work with this server's address and token."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect

from broker.errors import InputError, NoTarget, OffloadError, UsageError
from executors.base import ExecutorError
from server import examples, forms, problems, speech
from server.desk import Desk, desk
from server.leaving import left
from server.problems import Refusal

router = APIRouter(prefix="/v1/audio", tags=["audio"])

FORM_BYTES = forms.FIELD_BYTES * 2
"""What a form may have around its file."""

MODEL = {"type": "string", "description": f"{speech.USUAL}, or a model of the catalogue (/v1/models)"}
PROPERTIES: dict[str, Any] = {
    "file": {"type": "string", "format": "binary", "description": "a recording or a clip"},
    "model": {**MODEL, "examples": [speech.USUAL]},
    "language": {"type": "string", "description": "what is spoken, as a code or a name; without it, that is heard"},
    "prompt": {"type": "string", "maxLength": speech.PROMPT_CHARS, "description": "text that might stand before it"},
    "response_format": {"type": "string", "enum": [*speech.KINDS], "default": "json"},
    "temperature": {"type": "number", "enum": [0], "default": 0},
}
GRAINS = {
    "type": "array",
    "items": {"type": "string", "enum": ["word", "segment"]},
    "description": "with verbose_json",
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The text, in the format that was asked for",
        "content": {kind: {"example": told} for kind, told in examples.SPEECH.items()},
        "headers": {"Offload-Job": {"description": "the job that made it", "schema": {"type": "string"}}},
    }
}
REFUSALS = problems.refusals(400, 404, 408, 409, 410, 413, 415, 424, 503, 507)

At = Annotated[Desk, Depends(desk)]


def _body(**more: Any) -> dict[str, Any]:
    """How a route says which form it takes."""
    schema = {"type": "object", "required": ["file", "model"], "properties": PROPERTIES | more}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post(
    "/transcriptions",
    operation_id="transcribe",
    summary="Write down what is said",
    response_class=Response,
    responses=ANSWERS | REFUSALS,
    openapi_extra=_body(**{speech.GRANULARITIES[0]: GRAINS}),
)
async def transcribe(request: Request, at: At) -> Response:
    """Write down what is said in a recording or a clip, as OpenAI's API does. It is answered when that is done.

    It is a job like any other. One that loses its client goes on, and is what the same request finds, sent again.
    """
    return await _answered(request, at, translate=False)


@router.post(
    "/translations",
    operation_id="translate",
    summary="Write down in English what is said",
    response_class=Response,
    responses=ANSWERS | REFUSALS,
    openapi_extra=_body(),
)
async def translate(request: Request, at: At) -> Response:
    """Write down in English what is said, as `/v1/audio/transcriptions` otherwise."""
    return await _answered(request, at, translate=True)


async def _answered(request: Request, at: Desk, translate: bool) -> Response:
    try:
        asked, sha256 = await _received(request, at, translate)
        job = await asyncio.to_thread(speech.job, at, asked, sha256)
        await _over(request, at, job)
        body, kind = await asyncio.to_thread(speech.told, at, job, asked)
    except (OffloadError, ExecutorError, Refusal) as error:
        return _problem(error)
    return Response(body, media_type=kind, headers={"Offload-Job": job})


async def _received(request: Request, at: Desk, translate: bool) -> tuple[speech.Wanted, str]:
    """What is asked for, and the sha256 of the file, which is a blob then. Nothing else stays of the request."""
    most, length = at.settings.serve_bytes, request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most + FORM_BYTES:
        raise forms.too_large(most)
    draft = await asyncio.to_thread(at.blobs.draft)
    try:
        form = await forms.read(request.headers.get("content-type", ""), request.stream(), draft, most)
        asked = speech.wanted(form, translate)
        assert form.file  # else that was refused
        await asyncio.to_thread(at.blobs.take, draft, form.file.sha256)
        return asked, form.file.sha256
    except ClientDisconnect as error:  # it is told to nobody
        raise Refusal(400, "the connection ended before the request did") from error
    finally:
        await asyncio.to_thread(draft.unlink, missing_ok=True)


async def _over(request: Request, at: Desk, job: str) -> None:
    """Wait until a job is over, or the client is gone."""
    waiting, leaving = asyncio.ensure_future(_ended(at, job)), asyncio.ensure_future(left(request))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done() or not waiting.result():  # it is told to nobody, or the server is about to end
            raise Refusal(503, f"job {job} goes on without you", "ask for the same again")
    finally:
        for task in (waiting, leaving):
            task.cancel()
        await asyncio.gather(waiting, leaving, return_exceptions=True)


async def _ended(at: Desk, job: str) -> bool:
    """Whether the job is over, when there is no more news of it."""
    over = False
    async with aclosing(at.watcher.job(job)) as heard:
        async for news in heard:
            over = news.over
    return over


def _problem(error: OffloadError | ExecutorError | Refusal) -> Response:
    """A problem document that OpenAI's clients understand, too."""
    status, hint = _status(error), error.hint
    more = problems.for_openai(status, str(error), hint, getattr(error, "param", None), getattr(error, "code", None))
    passes = status in (408, 503) and error.exit_code == NoTarget.exit_code
    headers = {} if passes else {"x-should-retry": "false"}  # OpenAI's client would, by the status alone
    return problems.answer(status, str(error), hint, headers, exit_code=error.exit_code, **more)


def _status(error: OffloadError | ExecutorError | Refusal) -> int:
    wrong = not isinstance(error, Refusal) and error.exit_code in (UsageError.exit_code, InputError.exit_code)
    return 400 if wrong else problems.status_of(error)  # as OpenAI has it
