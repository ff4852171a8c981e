"""A job as it is now, in whole: what every route and every event tells of it."""

from __future__ import annotations

import hashlib
import math
import mimetypes
from collections.abc import Collection
from pathlib import Path
from typing import Any

import services
from broker import job as jobs
from broker import standing
from broker.broker import Broker
from broker.events import Progress
from server import schemas
from services.base.text import anywhere, plain

KINDS = {
    ".mkv": "video/x-matroska",
    ".srt": "application/x-subrip",
    ".vtt": "text/vtt",
    ".tsv": "text/tab-separated-values",
}
"""What not every machine's table has."""


def snapshot(broker: Broker, job: str) -> schemas.Job:
    """All there is to tell of a job, at one moment. Raises NoJob when there is none of that id."""
    driven = {job} if broker.driven(job) else set()
    with broker.journal.looking():
        told = _told(broker, broker.journal.job(job), driven)
    found = schemas.Job(revision="", **sound(told))
    revision = hashlib.sha256(found.model_dump_json().encode()).hexdigest()[:16]
    return found.model_copy(update={"revision": revision})


def _told(broker: Broker, job: jobs.Job, driven: Collection[str]) -> dict[str, Any]:
    ending = broker.journal.ending(job.id)
    paces = broker.journal.paces(job.id)
    return {
        "job": job.id,
        "service": job.service,
        "state": standing.state(broker, job, driven),
        "over": job.state.over,
        "why": standing.why(broker, job, driven),
        "error": ending.error or None if job.state.over else None,
        "hint": standing.hint(broker, job) if job.state.over else "",
        "exit_code": ending.exit_code,
        "progress": sum(pace.fraction for pace in paces) / len(paces),
        "created": ending.created,
        "seconds": round(ending.ended - ending.created, 3) if ending.ended else None,
        "params": dict(job.params),
        "command": plain(anywhere(job.folder, job.command)),
        "items": [_item(job, item, pace) for item, pace in zip(job.items, paces, strict=True)],
        "attempts": [_attempt(attempt) for attempt in broker.journal.attempts(job.id)],
    }


def sound(told: Any) -> Any:
    """What can go over the wire: in texts no half characters, which names of files and scripts may have; no NaN."""
    if isinstance(told, str):
        return told.encode("utf-8", "backslashreplace").decode()
    if isinstance(told, dict):
        return {sound(key): sound(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [sound(one) for one in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


def row(broker: Broker, job: jobs.Job, driven: Collection[str]) -> schemas.Row:
    """A job in a list; `driven` as for `standing.state`."""
    told: dict[str, Any] = {
        "job": job.id,
        "service": job.service,
        "state": standing.state(broker, job, driven),
        "over": job.state.over,
        "why": standing.why(broker, job, driven),
        "progress": sum(broker.journal.progress(job.id)) / len(job.items),
        "created": job.created,
        "first": plain(job.items[0].source.name),
        "items": len(job.items),
    }
    return schemas.Row(**sound(told))


def kind(path: Path) -> str:
    """Media type of a file, by its name."""
    return KINDS.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def output_name(item: jobs.Item, output: jobs.Output) -> str:
    """What an output is called in addresses: the same name may be made of several inputs."""
    return f"{item.index}-{output.name}"


def viewable(item: jobs.Item) -> bool:
    """Whether an input is still there, as it was."""
    try:
        return jobs.FileId.of(item.source).is_like(item.file_id)
    except OSError:
        return False


def _item(job: jobs.Job, item: jobs.Item, pace: Progress) -> dict[str, Any]:
    return {
        "index": item.index,
        "name": plain(item.source.name),
        "size": item.file_id.size,
        "sha256": item.sha256,
        "kind": kind(item.source),
        "state": "done" if item.done else "failed" if item.kind else "open",
        "progress": 1.0 if item.done else pace.fraction,
        "speed": pace.speed,
        "eta": pace.eta,
        "error": item.error,
        "measured": dict(item.measured),
        "summary": _summary(job, item),
        "viewable": viewable(item),
        "outputs": [_output(item, output) for output in item.outputs if output.published],
    }


def _summary(job: jobs.Job, item: jobs.Item) -> str:
    """What was measured, in a few words; none where another version of the service measured other things."""
    if not item.measured or job.service not in services.names():
        return ""
    try:
        return services.find(job.service).describe(item.measured)
    except (KeyError, TypeError, ValueError):
        return ""


def _output(item: jobs.Item, output: jobs.Output) -> dict[str, Any]:
    return {
        "name": output_name(item, output),
        "file": plain(output.dest.name),
        "kind": kind(output.dest),
        "size": output.size,
        "sha256": output.sha256,
    }


def _attempt(attempt: jobs.Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "target": attempt.target,
        "prepares": attempt.prepares,
        "items": list(attempt.items) if attempt.items is not None else None,
        "reason": attempt.reason,
        "state": attempt.state,
        "error": attempt.error or None,
        "seconds": round(attempt.ended - attempt.started, 3) if attempt.ended else None,
    }
