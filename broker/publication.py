"""How a result gets its name: part file, intent, link, commit. After a crash at any point it can be replayed.

A destination appears whole or not at all, is never overwritten unless the user said so, and belongs to one attempt:
the ledger refuses a driver that has been overtaken, and part files carry the term of the lease they were brought under,
so that a driver which wakes up late meets no other's.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker.errors import JobFailed, LimitError, OffloadError
from broker.events import Note
from broker.job import Attempt, Item, Job, Output
from broker.ledger import Ledger
from broker.staging import NO_LINK, file_sha256, sync

NAME_BYTES = 255
"""Most bytes a file name may have on the usual file systems."""

Fetch = Callable[[Output, Path], None]


def announced(item: Item, files: Mapping[str, tuple[int, str]]) -> Item:
    """The item with what a target says of its outputs (name -> size, sha256). Raises JobFailed when one is missing.

    Only names we asked for count: a target's own idea of a name never becomes a path here.
    """
    missing = [output.name for output in item.outputs if output.name not in files]
    if missing:
        raise JobFailed(f"the script made no {missing[0]} of {item.source}")
    outputs = [replace(output, size=files[output.name][0], sha256=files[output.name][1]) for output in item.outputs]
    return replace(item, outputs=tuple(outputs))


def publish(
    ledger: Ledger, attempt: Attempt, job: Job, item: Item, fetch: Fetch, measured: Mapping[str, Any]
) -> tuple[Path, ...]:
    """Publish an item's outputs, whose `size` and `sha256` are what the target announced; returns where they are.

    Raises Overtaken when another process drives the job now, LimitError when they cannot be stored here: the target
    keeps its copy, and the same command takes up from there.
    """
    pending = [replace(output, term=ledger.term) for output in item.outputs if not output.published]
    try:
        _gather(job, item, pending, fetch)
        files = {output.name: (output.size or 0, output.sha256 or "") for output in pending}
        ledger.intend(attempt, item.index, files, measured)
        for output in pending:
            _settle(ledger, job, item, output)
        return tuple(output.dest for output in ledger.job.items[item.index].outputs)
    except OSError as error:
        _discard(job, item, pending)
        ledger.check()  # a driver that overtook us has tidied up: that is why
        where = item.outputs[0].dest.parent
        cure = "make room" if where.is_dir() else f"mkdir -p {shlex.quote(str(where))}"
        raise LimitError(
            f"the result cannot be stored in {where}: {error.strerror}; it waits where it was made",
            f"{cure}, then run the same command again",
        ) from error
    except OffloadError:  # overtaken, or the journal takes no more
        _discard(job, item, pending)
        raise


def _gather(job: Job, item: Item, outputs: Iterable[Output], fetch: Fetch) -> None:
    try:
        for output in outputs:
            fetch(output, part_path(job, item, output))
    except BaseException:
        _discard(job, item, outputs)  # before the intent nobody needs them
        raise


def _discard(job: Job, item: Item, outputs: Iterable[Output]) -> None:
    for output in outputs:
        with suppress(OSError):  # there is an error already, and a better one; `tidy` comes again
            part_path(job, item, output).unlink(missing_ok=True)


def replay(ledger: Ledger) -> None:
    """Finish what a crash interrupted: outputs whose intent is in the journal and whose bytes are here.

    One that still cannot be stored stays an intent; the attempt that brings it again says why.
    """
    job = ledger.job
    for item in job.items:
        for output in item.outputs:
            with suppress(OSError):
                if output.state == "intent" and _bytes_are_here(job, item, output):
                    _settle(ledger, job, item, output)


def tidy(ledger: Ledger) -> None:
    """Leave no part file of a job that is about to be over: what was intended is published, the rest is dropped."""
    replay(ledger)
    discard_parts(ledger.job)


def _bytes_are_here(job: Job, item: Item, output: Output) -> bool:
    return any(_holds(path, output) for path in (output.dest, part_path(job, item, output)))


def _holds(path: Path, output: Output) -> bool:
    return path.is_file() and path.stat().st_size == output.size and file_sha256(path) == output.sha256


def _settle(ledger: Ledger, job: Job, item: Item, output: Output) -> None:
    part = part_path(job, item, output)
    dest = output.dest if _holds(output.dest, output) else _place(part, item, output, job)
    part.unlink(missing_ok=True)
    sync(dest.parent)
    ledger.published(item.index, output.name, dest)


def _place(part: Path, item: Item, output: Output, job: Job) -> Path:
    dest = output.dest
    if job.overwrite:
        part.replace(dest)
        return dest
    try:
        link_new(part, dest)
    except FileExistsError:
        if _holds(dest, output):  # a driver that overtook us has just done the same
            return dest
        # Somebody took the name while the job ran: theirs stays, ours goes beside it.
        fits = len(os.fsencode(dest.name)) <= NAME_BYTES - len(job.id) - 1
        stem = dest.stem if fits else f"result-{item.index}-{_number(item, output)}"
        dest = dest.with_name(f"{stem}.{job.id}{dest.suffix}")
        part.replace(dest)
    return dest


def link_new(part: Path, dest: Path) -> None:
    """Give a part its name. Raises FileExistsError when that is taken."""
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
    return output.dest.with_name(f".{job.id}-{output.term}.{item.index}.{_number(item, output)}.part")


def _number(item: Item, output: Output) -> int:
    return [entry.name for entry in item.outputs].index(output.name)


def discard_parts(job: Job) -> None:
    """Remove what unpublished items left beside their destinations, whoever brought it."""
    for folder in {output.dest.parent for item in job.items for output in item.outputs}:
        with suppress(OSError):  # a disk that refuses even this has been complained of already
            for part in folder.glob(f".{job.id}-*.part"):
                part.unlink(missing_ok=True)


def moved_aside(item: Item, paths: tuple[Path, ...]) -> Iterator[Note]:
    """Tell of results that were published beside a destination that somebody else had taken."""
    for output, path in zip(item.outputs, paths, strict=True):
        if path != output.dest:
            yield Note(
                f"{output.dest} appeared while the job ran and was left alone; the result is {path}",
                item.index,
            )
