"""Checkpoints: finished pieces of a job's items, kept here, so that the next attempt goes on where the last one ended.

They are a courtesy to the next attempt: one that cannot be had or kept costs what it took to make, never the job. The
files lie in the folder of the job, `<index>/<name>`, until their item is done; who made which stays in the journal.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from broker import staging
from broker.errors import IntegrityError, LimitError
from broker.events import Note
from broker.job import Attempt, FileId, Item, Job, State
from broker.journal import Journal
from broker.ledger import Ledger
from broker.reports import Checkpoint
from broker.scripts import bundle
from broker.staging import Piece
from executors.base import Executor, NoSuchFile, Span, TransferFailed

JOB_PIECES = 2000
"""Most pieces that are kept of one job: a target is not trusted to stop."""
SPARE_BYTES = 256 * 2**20
"""What is left free on the disk they are kept on: the journal lies there too."""
DAY_SECONDS = 86400.0

TROUBLES = (NoSuchFile, TransferFailed, IntegrityError, LimitError, OSError)
"""What costs a checkpoint and no more. That its target is gone is for others to hear."""


class Checkpoints:
    """The checkpoints of a job, as one attempt on an entered executor leaves and finds them: at most `most` bytes."""

    def __init__(self, ledger: Ledger, attempt: Attempt, executor: Executor, most: int) -> None:
        self._most = most
        self._ledger = ledger
        self._attempt = attempt
        self._executor = executor
        self._folder = ledger.journal.checkpoint_folder / ledger.id
        self._told: set[tuple[type[Exception], int | None]] = set()

    # From the target

    def take(self, checkpoint: Checkpoint) -> Iterator[Note]:
        """Bring a checkpoint here and record it, unless it is here already. The first that cannot be kept is told of.

        Raises Overtaken when another process drives the job now, ExecutorError when the target is gone.
        """
        job = self._ledger.job
        if not job.items[checkpoint.index].open or checkpoint in self._ledger.journal.checkpoints(job.id):
            return
        try:
            self._keep(checkpoint, job)
        except TROUBLES as error:
            kind = type(error), getattr(error, "errno", None)
            if kind not in self._told:
                self._told.add(kind)
                reason = getattr(error, "strerror", None) or str(error)
                yield Note(f"checkpoint {checkpoint.name} is not kept: {reason}", checkpoint.index)

    def _keep(self, checkpoint: Checkpoint, job: Job) -> None:
        place = self._place(checkpoint)
        if not _holds(place, checkpoint):
            self._check_room(checkpoint, job)
            self._begin_folder(place.parent, job)
            self._bring(checkpoint, place)
        self._ledger.note_checkpoint(self._attempt, checkpoint)

    def _check_room(self, checkpoint: Checkpoint, job: Job) -> None:
        kept = [one for one in self._ledger.journal.checkpoints(job.id) if not job.items[one.index].done]
        if len(kept) >= JOB_PIECES:
            raise LimitError(f"{JOB_PIECES} pieces of one job are the most")
        if checkpoint.size + sum(one.size for one in kept) > self._most:
            raise LimitError(f"{self._most} bytes of one job are the most")
        if shutil.disk_usage(_existing(self._folder)).free - checkpoint.size < SPARE_BYTES:
            raise LimitError(f"the disk that holds {self._folder.parent} is all but full")

    def _begin_folder(self, folder: Path, job: Job) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(parents=True, exist_ok=True)
        if self._made_by() != bundle(job.script).id:
            self._scripts.write_text(bundle(job.script).id)

    def _bring(self, checkpoint: Checkpoint, place: Path) -> None:
        source = f"jobs/{self._attempt.remote}/out/{checkpoint.index}/checkpoints/{checkpoint.name}"
        part = place.with_name(f".{checkpoint.name}.{self._ledger.term}.part")
        try:
            staging.fetch(self._executor, source, checkpoint.size, checkpoint.sha256, part)
            self._ledger.check()  # a driver that slept must not put its file in place of another's
            part.replace(place)
            staging.sync(place.parent)
        finally:
            part.unlink(missing_ok=True)

    # To the target

    def offer(self, items: Iterable[Item]) -> list[Piece]:
        """The pieces of these items to go on from. One that is missing or damaged is forgotten, and done again.

        None for a job that has begun on its target already: it goes on with what it has.
        """
        wanted = {item.index for item in items}
        known = [one for one in self._ledger.journal.checkpoints(self._ledger.id) if one.index in wanted]
        if not known or self._has_begun():
            return []
        return [piece for one in known if (piece := self._whole(one))]

    def _has_begun(self) -> bool:
        try:
            self._executor.get(f"jobs/{self._attempt.remote}/job.json", Span(0, 1))
        except NoSuchFile:
            return False
        return True

    def _whole(self, checkpoint: Checkpoint) -> Piece | None:
        place = self._place(checkpoint)
        with suppress(OSError):  # what cannot be read is as good as damaged
            if _holds(place, checkpoint):
                return Piece(checkpoint, place, FileId.of(place))
            place.unlink(missing_ok=True)
        self._ledger.drop_checkpoint(checkpoint)
        return None

    # Tidying

    def tidy(self) -> None:
        """Delete what nobody will ask for: pieces of items that are done, or made by other scripts than would go on."""
        job = self._ledger.job
        with suppress(OSError):  # what resists is swept another day
            if self._folder.is_dir() and self._made_by() != bundle(job.script).id:
                self._drop_all(job)
            self._drop_done({str(item.index) for item in job.items if item.done})

    def _drop_all(self, job: Job) -> None:
        for one in self._ledger.journal.checkpoints(job.id):
            if not job.items[one.index].done:
                self._ledger.drop_checkpoint(one)
        shutil.rmtree(self._folder)

    def _drop_done(self, done: set[str]) -> None:
        for part in self._folder.glob("*/.*.part"):
            part.unlink(missing_ok=True)
        left = _folders(self._folder)
        for folder in left:
            if folder.name in done:
                shutil.rmtree(folder)
        if {folder.name for folder in left} <= done:
            shutil.rmtree(self._folder, ignore_errors=True)  # it may never have been there

    def _made_by(self) -> str:
        with suppress(OSError):
            return self._scripts.read_text("utf-8")
        return ""

    @property
    def _scripts(self) -> Path:
        return self._folder / "scripts"

    def _place(self, checkpoint: Checkpoint) -> Path:
        return self._folder / str(checkpoint.index) / checkpoint.name


def sweep(journal: Journal, days: float) -> None:
    """Delete the checkpoints of jobs that are done, unknown, or were over `days` ago without anybody retrying them."""
    for folder in _folders(journal.checkpoint_folder):
        if folder.name not in journal.with_prefix(folder.name) or _is_stale(journal, folder.name, days):
            shutil.rmtree(folder, ignore_errors=True)


def _is_stale(journal: Journal, job: str, days: float) -> bool:
    ended = journal.ending(job).ended
    return ended is not None and (journal.job(job).state is State.DONE or time.time() - ended > days * DAY_SECONDS)


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _holds(path: Path, checkpoint: Checkpoint) -> bool:
    return path.is_file() and path.stat().st_size == checkpoint.size and staging.file_sha256(path) == checkpoint.sha256
