"""A request becomes a job, once; and so does one again that was in a journal that is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from broker import order
from broker.backup import Backup, Backups
from broker.errors import InputError
from broker.job import FileId, Job, Request, resume_key
from broker.journal import Journal
from broker.models.said import Tell
from broker.planner import Planner
from broker.scripts import bundle
from broker.settings import Settings


class Submission:
    """Records jobs. `tell` hears how far it is with what takes long before there is one."""

    def __init__(self, journal: Journal, backups: Backups, planner: Planner, settings: Settings, tell: Tell) -> None:
        self._journal = journal
        self._backups = backups
        self._planner = planner
        self._settings = settings
        self._tell = tell

    def unfinished(self, request: Request) -> Job | None:
        """The job of the same request, typed before and never ended. Raises as `submit` does."""
        request = self._settled(request)
        return self._journal.unfinished(self._key(request, self._identified(request)))

    def submit(self, request: Request, seen: int | None = None) -> Job:
        """Record a job, or find that of the same request (see `Journal.submit`, also for `seen`).

        Raises what `Planner.check` does, InputError for an input that cannot be read, and what pinning a model raises
        (`order.pins`).
        """
        request = self._settled(request)
        inputs, limits = self._identified(request), self._settings.limits
        key = self._key(request, inputs)
        job = self._journal.submit(request, key, inputs, limits, seen)
        self._backups.save(job.id, Backup(request, key, tuple(inputs), limits))
        if not self._journal.is_open(job.id):  # somebody else's, and done meanwhile
            self._backups.drop(job.id)
        return job

    def restored(self) -> Iterator[str]:
        """Bring the open jobs of a journal that was lost into the new one; tells of each."""
        if self._journal.aside is not None:
            yield f"the journal was damaged; it is kept as {self._journal.aside}, and a new one has been begun"
        # Also when it was another process that lost the journal: it may have died before it came so far.
        for job, backup in self._backups.of_lost(self._journal.knows):
            self._journal.restore(job, backup)
            yield f"job {job} was open in a journal that was lost: `offload jobs attach {job}` goes on with it"

    def _settled(self, request: Request) -> Request:
        """The request, with what its models are now, and whether it may ask anybody."""
        found = order.pins(request.models, self._settings, self._journal, self._tell)
        digests = {role: pin.digest for role, pin in found.items()}
        return replace(request, digests=digests, offline=request.offline or self._settings.offline)

    def _identified(self, request: Request) -> list[tuple[FileId, str]]:
        self._planner.check(request)
        return [self._identify(entry.source) for entry in request.inputs]

    def _identify(self, path: Path) -> tuple[FileId, str]:
        try:
            return self._journal.hashes.identify(path)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error

    def _key(self, request: Request, inputs: list[tuple[FileId, str]]) -> str:
        return resume_key(request, [sha256 for _, sha256 in inputs], bundle(request.script).id)
