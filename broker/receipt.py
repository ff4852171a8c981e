"""The receipt: what comes back with the outputs. Where each item ran and why, what else was tried, hashes, timings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from broker.job import Attempt, Item
from broker.journal import Journal
from broker.reports import Checkpoint


def receipt(journal: Journal, job_id: str) -> dict[str, Any]:
    """Make the receipt of a job from the journal, as one JSON document."""
    with journal.looking():
        job, ending = journal.job(job_id), journal.ending(job_id)
        made, attempts = journal.checkpoints(job_id), journal.attempts(job_id)
    return {
        "job": job.id,
        "service": job.service,
        "state": job.state.value,
        "error": ending.error or None,
        "params": dict(job.params),
        "created": ending.created,
        "seconds": round(ending.ended - ending.created, 3) if ending.ended else None,
        "items": [_item(item, made) for item in job.items],
        "attempts": [_attempt(attempt) for attempt in attempts],
    }


def _item(item: Item, made: Mapping[Checkpoint, int]) -> dict[str, Any]:
    pieces = Counter(attempt for checkpoint, attempt in made.items() if checkpoint.index == item.index)
    return {
        "index": item.index,
        "input": str(item.source),
        "sha256": item.sha256,
        "size": item.file_id.size,
        "payload": asdict(item.payload) if item.payload else None,
        "state": "done" if item.done else "failed" if item.kind else "open",
        "kind": item.kind,
        "error": item.error,
        "measured": dict(item.measured),
        "checkpoints": [{"attempt": attempt, "pieces": count} for attempt, count in sorted(pieces.items())],
        "outputs": [
            {
                "path": str(output.dest),
                "size": output.size,
                "sha256": output.sha256,
                "attempt": output.attempt,
            }
            for output in item.outputs
            if output.published
        ],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "target": attempt.target,
        "prepares": attempt.prepares,
        "items": attempt.items,
        "reason": attempt.reason,
        "state": attempt.state,
        "error": attempt.error or None,
        "seconds": round(attempt.ended - attempt.started, 3) if attempt.ended else None,
        "timings": dict(attempt.timings),
        "forecast": None if attempt.forecast is None else dict(attempt.forecast),
        "versions": dict(attempt.versions),
    }
