"""What a script delivers as it works: an item that is done is published, a finished piece kept, a failure recorded."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from broker import measure, publication, staging, work
from broker.checkpoints import Checkpoints
from broker.errors import InputError
from broker.events import Event, ItemFailed, Note, Progress, Published
from broker.job import Attempt, Item, Job, Output
from broker.keeping import Keeping
from broker.ledger import Ledger
from broker.reports import Checkpoint, Done, Report, Versions
from broker.settings import Settings
from broker.stop import Stop
from executors.base import Executor

NOTE_SECONDS = 1.0
"""How often progress is written to the journal."""

Locks = Sequence[AbstractContextManager[object]]
"""A lock for each item, for those who may be at the same one."""


class Delivery:
    """Takes what an attempt's script reports. `starved` are the items that memory did not suffice for, and why.

    What bringing results here takes is added to `timings`.
    """

    def __init__(
        self,
        ledger: Ledger,
        attempt: Attempt,
        executor: Executor,
        stop: Stop,
        settings: Settings,
        timings: dict[str, float],
        locks: Locks = (),
    ) -> None:
        self.starved: dict[int, str] = {}
        self.checkpoints = Checkpoints(ledger, attempt, executor, settings.checkpoint_bytes)
        self._ledger = ledger
        self._attempt = attempt
        self._executor = executor
        self._stop = stop
        self._settings = settings
        self._timings = timings
        self._locks = locks
        self._keeping = Keeping(ledger, attempt, settings)
        self._noted = 0.0

    def take(self, report: Report | None) -> Iterator[Event]:
        """Act on a report; yields what is to be told. Raises what bringing and publishing raise."""
        match report:
            case Progress():
                self._note(report)
                yield report
            case Note():
                yield report
            case Versions():
                self._ledger.note_versions(self._attempt, report.versions)
            case Checkpoint() if not self._stop.requested:  # else nobody waits for it
                with self._alone_at(report.index):
                    yield from self.checkpoints.take(report)
            case Done():
                with self._alone_at(report.index):
                    yield from self._item_done(report)
            case ItemFailed():
                with self._alone_at(report.index):
                    yield from self._item_failed(report)

    def unchanged(self, items: Iterable[Item]) -> Generator[Event, None, list[Item]]:
        """Those of the items whose inputs are what they were; the others fail."""
        same = []
        for item in items:
            try:
                staging.check_unchanged(item)
                same.append(item)
            except InputError as error:
                yield from self._fail(item, "bad_input", str(error))
        return same

    def _alone_at(self, index: int) -> AbstractContextManager[object]:
        return self._locks[index] if self._locks else nullcontext()

    def _note(self, progress: Progress) -> None:
        if time.monotonic() - self._noted > NOTE_SECONDS:
            self._noted = time.monotonic()
            self._ledger.note_progress(progress.index, progress.fraction, progress.speed, progress.eta)

    def _item_done(self, done: Done) -> Iterator[Event]:
        job = self._ledger.job
        item = job.items[done.index]
        if not item.open or not (yield from self.unchanged((item,))):
            return
        item = publication.announced(item, done.files)
        with measure.timed(self._timings, "stage_out"):
            fetch = partial(self._fetch, item)
            paths = publication.publish(self._ledger, self._attempt, job, item, fetch, done.measured)
        self._weigh(job, item, done)
        self.checkpoints.tidy()
        yield from publication.moved_aside(item, paths)
        yield Published(item.index, paths, done.measured)
        yield from self._keeping.keep(item.index)

    def _weigh(self, job: Job, item: Item, done: Done) -> None:
        """Learn how much work an item was, for plans to come, where nobody had to know before."""
        amount = work.told(job.unit, done.measured) if item.amount is None else None
        if amount is not None:
            self._ledger.journal.weigh(job.id, {item.index: amount})

    def _fetch(self, item: Item, output: Output, part: Path) -> None:
        path = f"jobs/{self._attempt.remote}/out/{item.index}/{output.name}"
        staging.fetch(self._executor, path, output.size or 0, output.sha256 or "", part)

    def _item_failed(self, failed: ItemFailed) -> Iterator[Event]:
        if failed.kind == "memory":
            self.starved[failed.index] = failed.error  # the others may need less
            return
        item = self._ledger.job.items[failed.index]
        if item.open:
            yield from self._fail(item, failed.kind, failed.error)

    def _fail(self, item: Item, kind: str, error: str) -> Iterator[Event]:
        self._ledger.fail_item(item.index, kind, error)
        yield ItemFailed(item.index, kind, error)
