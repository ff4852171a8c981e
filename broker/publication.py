"""How a result gets its name: part file, intent, link, commit. After a crash at any point it can be replayed.

A destination appears whole or not at all, is never overwritten unless the user said so, and belongs to one attempt:
the journal's compare-and-set refuses an attempt that has been overtaken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from broker.errors import LimitError
from broker.job import Attempt, Item, Job, Output
from broker.journal import Journal
from broker.staging import NO_LINK, file_sha256, sync

NAME_BYTES = 255
"""Most bytes a file name may have on the usual file systems."""

Fetch = Callable[[Output, Path], None]


def publish(
    journal: Journal, attempt: Attempt, job: Job, item: Item, fetch: Fetch, measured: Mapping[str, Any]
) -> tuple[Path, ...] | None:
    """Publish an item's outputs, whose `size` and `sha256` are what the target announced.

    Returns where they are, or None when a later attempt has taken the job over. Raises LimitError when
    they cannot be stored here: the target keeps its copy, and the same command takes up from there.
    """
    pending = [output for output in item.outputs if not output.published]
    try:
        for output in pending:
            fetch(output, part_path(job, item, output))
        files = {output.name: (output.size or 0, output.sha256 or "") for output in pending}
        if not journal.intend(attempt, item.index, files, measured):
            discard_parts(job, item)
            return None
        for output in pending:
            _settle(journal, job, item, output)
        return tuple(output.dest for output in journal.job(job.id).items[item.index].outputs)
    except OSError as error:
        discard_parts(job, item)
        where = item.outputs[0].dest.parent
        raise LimitError(
            f"the result cannot be stored in {where}: {error.strerror}; it waits where it was made",
            "make room, then run the same command again",
        ) from error


def replay(journal: Journal, job: Job) -> None:
    """Finish what a crash interrupted: outputs whose intent is in the journal and whose bytes are here.

    One that still cannot be stored stays an intent; the attempt that brings it again says why.
    """
    for item in job.items:
        for output in item.outputs:
            with suppress(OSError):
                if output.state == "intent" and _bytes_are_here(job, item, output):
                    _settle(journal, job, item, output)


def tidy(journal: Journal, job: Job) -> None:
    """Leave no part file of a job that is about to be over: what was intended is published, the rest is dropped."""
    replay(journal, job)
    for item in job.items:
        with suppress(OSError):  # a disk that refuses even this has been complained of already
            discard_parts(job, item)


def _bytes_are_here(job: Job, item: Item, output: Output) -> bool:
    return any(_holds(path, output) for path in (output.dest, part_path(job, item, output)))


def _holds(path: Path, output: Output) -> bool:
    return path.is_file() and path.stat().st_size == output.size and file_sha256(path) == output.sha256


def _settle(journal: Journal, job: Job, item: Item, output: Output) -> None:
    part = part_path(job, item, output)
    dest = output.dest if _holds(output.dest, output) else _place(part, output.dest, job)
    part.unlink(missing_ok=True)
    sync(dest.parent)
    journal.published(job.id, item.index, output.name, dest)


def _place(part: Path, dest: Path, job: Job) -> Path:
    if job.overwrite:
        part.replace(dest)
        return dest
    try:
        _link_new(part, dest)
    except FileExistsError:
        # Somebody took the name while the job ran: theirs stays, ours goes beside it.
        stem = dest.stem if len(os.fsencode(dest.name)) <= NAME_BYTES - len(job.id) - 1 else "result"
        dest = dest.with_name(f"{stem}.{job.id}{dest.suffix}")
        part.replace(dest)
    return dest


def _link_new(part: Path, dest: Path) -> None:
    try:
        os.link(part, dest)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        if os.path.lexists(dest):
            raise FileExistsError(dest) from error
        part.rename(dest)  # no links on this file system: the gap since the look is as small as it gets


def part_path(job: Job, item: Item, output: Output) -> Path:
    """Where an output gathers before it has its name: hidden, beside its destination."""
    number = f"{item.index}.{[entry.name for entry in item.outputs].index(output.name)}"
    return output.dest.with_name(f".{job.id}-{number}.part")


def discard_parts(job: Job, item: Item) -> None:
    """Remove what an unpublished item left beside its destinations."""
    for output in item.outputs:
        part_path(job, item, output).unlink(missing_ok=True)
