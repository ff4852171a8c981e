"""One job on one target: stage in, start, follow, publish each item as it is done, acknowledge."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from broker import endings, keeper, measure, orphans, policy, publication, reports, staging, supplies, work
from broker.agent import Agent, Batch
from broker.checkpoints import Checkpoints
from broker.errors import InputError, Interrupted, JobFailed
from broker.events import Event, ItemFailed, Note, Progress, Published
from broker.job import Attempt, Item, Job, Output
from broker.keeping import Keeping
from broker.leaving import Leaving
from broker.ledger import Ledger
from broker.models.pin import Pin
from broker.order import order, told, unchanged
from broker.payloads import Payloads
from broker.reports import Checkpoint, Done, Models, Report, Versions
from broker.scripts import bundle
from broker.settings import Settings
from broker.staging import Piece
from broker.stop import Stop
from broker.supplies import Lacks, ModelFiles, Packages
from broker.wheels import Wants
from executors.base import Executor, Gone

POLL_SECONDS = 1.0
NOTE_SECONDS = 1.0
"""How often progress is written to the journal."""


Locks = Sequence[AbstractContextManager[object]]
"""A lock for each item, for those who may be at the same one."""


class Run:
    """A running attempt. Iterate it to drive it; it ends when every item is done or has failed.

    A target that falls silent in the middle is waited for, since a link that broke or a laptop that slept is no reason
    to begin anew. `begun` tells whether the job may be running there, `ease` how often memory ran out there before.
    An attempt at some of the items only has others beside it: they exclude each other with `locks`, one for each item.

    Raises ExecutorError when the target fails us, JobFailed when the script does, Interrupted when stopped, Overtaken
    when another process drives the job now.
    """

    def __init__(
        self,
        ledger: Ledger,
        attempt: Attempt,
        executor: Executor,
        stop: Stop,
        settings: Settings,
        begun: bool,
        ease: int = 0,
        locks: Locks = (),
    ) -> None:
        self.timings: dict[str, float] = {}
        self.sheet = measure.Sheet()
        self.begun = begun
        self._ledger = ledger
        self._attempt = attempt
        self._executor = executor
        self._stop = stop
        self._settings = settings
        self._ease = ease
        self._locks = locks
        self._payloads = Payloads(settings.cache_dir / "prepared", ledger.journal)
        self._keeping = Keeping(ledger, attempt, settings)
        self._leaving = Leaving(ledger, attempt, executor, settings)
        self._checkpoints = Checkpoints(ledger, attempt, executor, settings.checkpoint_bytes)
        self._patience = policy.Patience(settings.grace_seconds)
        self._reached = begun
        self._since = 0
        self._lacks: dict[str, Lacks] = {}
        self._supplied: set[str] = set()
        self._starved: dict[int, str] = {}
        self._pins: Mapping[str, Pin] = {}
        self._noted = 0.0
        self._log: str | None = None
        self._items = len(ledger.job.items)

    def __iter__(self) -> Iterator[Event]:
        while True:
            try:
                yield from self._visit()
                return
            except policy.ABSENT as error:
                if not (self._reached and policy.may_be_back(error) and self.left):
                    raise
                if not self._patience.waiting:
                    yield Note(f"{error}; waiting for it")
                yield from self._wait(error)

    @property
    def left(self) -> tuple[Item, ...]:
        """The items that this attempt still has to do something for."""
        found, mine = self._ledger.job.open_items, self._attempt.items
        if mine is None:
            return found
        return tuple(sorted((item for item in found if item.index in mine), key=lambda item: mine.index(item.index)))

    def _wait(self, silence: Exception) -> Iterator[Event]:
        target, pause = self._attempt.target, self._patience.pause()
        if pause is None:
            raise silence
        self._stop.sleep(pause)
        if self._stop.requested:
            yield Note(f"{target} could not be told; what runs there is ended as soon as it can be")
            raise Interrupted(f"stopped while {target} could not be reached")

    def _visit(self) -> Iterator[Event]:
        self._executor.returning = self._reached
        keeper.start(self._settings, self._executor)  # first: who is stopped while a machine is taken leaves it to it
        with self._executor:
            self._reached = True
            self.sheet.visits += 1
            self._patience.back()
            job = self._ledger.job
            agent = Agent(self._executor, bundle(self._said(job).script))
            try:
                yield from self._drive(agent, job)
            except policy.ENDING as error:
                if not policy.may_be_back(error):
                    hurry = isinstance(error, KeyboardInterrupt | GeneratorExit)
                    self._leaving.end(agent, keep=job.keep or isinstance(error, JobFailed), hurry=hurry)
                raise

    def _drive(self, agent: Agent, job: Job) -> Iterator[Event]:
        agent.install()
        orphans.clean(self._ledger.journal, agent, self._attempt.target)
        self._checkpoints.tidy()
        items = yield from self._unchanged(self.left)
        if self._stop.requested:
            raise Interrupted("stopped before it ran")
        if not items:
            self._leaving.end(agent, keep=False)  # a killed follower may have left it running
            return
        found = self._models(job)
        with self._timed("stage_in"):
            pieces = self._pieces(items)
            supplies.send_own(self._executor, agent, found.values(), self._stop)
            sent = self._sent(items)
            inputs = staging.stage_in(self._executor, agent, sent, self._stop, pieces, self.sheet.count)
            self.sheet.staged_in(items, sent, bool(pieces), self._executor.local_path("jobs") is not None)
        if pieces:
            yield Note(f"going on from {len(pieces)} finished piece{'s' * (len(pieces) > 1)}")
        ordered = order(self._said(job), found, items, inputs, self._executor, self._settings, self._ease)
        ending = yield from self._run(agent, ordered)
        while lacks := self._lacking(ending):
            yield Note(f"{self._attempt.target} can download nothing; the {lacks.what} it needs have to come from here")
            with self._timed(lacks.what):
                ordered |= lacks.send(self._executor, agent, ordered, self._settings, self._stop)
            agent.ack(self._attempt.remote)
            self._since = 0
            ending = yield from self._run(agent, ordered)
        self._judge(ending)
        if self._log is None:
            self._leaving.clear(agent, job.keep)
        else:
            self._leaving.cleared(self._log)
        self.sheet.look(agent)
        self._leaving.tidy(agent)

    def _run(self, agent: Agent, ordered: Mapping[str, Any]) -> Generator[Event, None, Mapping[str, Any]]:
        self._ledger.may_remain(self._attempt)
        self.begun = True
        self.sheet.started()
        agent.start(self._attempt.remote, self._said(self._ledger.job).script.name, ordered)
        self._leaving.begin_nothing_anew(agent)
        with self._timed("run"):
            return (yield from self._follow(agent))

    def _lacking(self, ending: Mapping[str, Any]) -> Lacks | None:
        """What the target said it lacks and cannot get, if that is what ended the script; each thing once."""
        if self._executor.local_path("jobs") is not None:
            return None  # it is this machine: what is not here is nowhere to be sent from
        lacks = self._lacks.pop(endings.kind(ending), None)
        if lacks is None or lacks.what in self._supplied:
            return None
        self._supplied.add(lacks.what)
        return lacks

    # What an attempt is about

    def _said(self, job: Job) -> Job:
        """The job as the target is told of it."""
        return job

    def _pieces(self, items: Sequence[Item]) -> list[Piece]:
        return self._checkpoints.offer(items)

    def _sent(self, items: Sequence[Item]) -> list[Item]:
        """The items as they go to the target: with what was prepared of them in place of the inputs."""
        if self._ledger.job.prepare is None:
            return list(items)
        found = [self._payloads.stand_in(item) for item in items]
        if None in found:  # never the inputs themselves: they are what was not to travel
            raise policy.Unprepared("what was prepared of the inputs is not in the cache any more")
        return [item for item in found if item]

    def _models(self, job: Job) -> Mapping[str, Pin]:
        self._pins = unchanged(job, self._settings, self._ledger.journal)
        if self._pins:
            eased = {"ease": self._ease} if self._ease else {}
            self._ledger.note_versions(self._attempt, {**told(self._pins), **eased})
        return self._pins

    def _unchanged(self, items: tuple[Item, ...]) -> Generator[Event, None, list[Item]]:
        same = []
        for item in items:
            try:
                staging.check_unchanged(item)
                same.append(item)
            except InputError as error:
                yield from self._fail(item, "bad_input", str(error))
        return same

    def _follow(self, agent: Agent) -> Generator[Event, None, Mapping[str, Any]]:
        asked = over = False
        while True:
            batch = agent.events(self._attempt.remote, self._since, POLL_SECONDS, ack=over)
            for event in batch.events:
                yield from self._take(reports.read(event, self._items))
            news, self._since = batch.next != self._since, batch.next
            self._patience.heard(news)
            keeper.start(self._settings, self._executor)  # a keeper may be killed, too
            if batch.state != "running" and (not news or batch.log is not None):
                return self._end(batch)
            over = over or (news and not self._ledger.job.keep and not self.left)
            if not asked and self._is_outrun():
                asked = True
                agent.cancel(self._attempt.remote, self._settings.cancel_grace)
            if self._stop.requested and not asked:
                asked = True
                self._ledger.check()  # what runs there may be another driver's by now
                yield Note("stopping; finished items are kept")
                agent.cancel(self._attempt.remote, self._settings.cancel_grace)

    def _is_outrun(self) -> bool:
        """Whether others have done what was left of this attempt's items."""
        return self._attempt.items is not None and not self.left

    def _end(self, batch: Batch) -> Mapping[str, Any]:
        if batch.state != "ended":
            raise Gone(f"{self._attempt.target}: the job's supervisor is gone")
        self._log = batch.log
        return batch.ending

    def _take(self, report: Report | None) -> Iterator[Event]:
        self.sheet.heard(report)
        match report:
            case Progress():
                self._note(report)
                yield report
            case Note():
                yield report
            case Wants():
                self._lacks["offline"] = Packages(report)
            case Models():
                self._lacks["no_model"] = ModelFiles(report, self._pins.values())
            case Versions():
                self._ledger.note_versions(self._attempt, report.versions)
            case Checkpoint() if not self._stop.requested:  # else nobody waits for it
                with self._alone_at(report.index):
                    yield from self._checkpoints.take(report)
            case Done():
                with self._alone_at(report.index):
                    yield from self._item_done(report)
            case ItemFailed():
                with self._alone_at(report.index):
                    yield from self._item_failed(report)

    def _alone_at(self, index: int) -> AbstractContextManager[object]:
        return self._locks[index] if self._locks else nullcontext()

    def _note(self, progress: Progress) -> None:
        if time.monotonic() - self._noted > NOTE_SECONDS:
            self._noted = time.monotonic()
            self._ledger.note_progress(progress.index, progress.fraction, progress.speed, progress.eta)

    def _item_done(self, done: Done) -> Iterator[Event]:
        job = self._ledger.job
        item = job.items[done.index]
        if not item.open or not (yield from self._unchanged((item,))):
            return
        item = publication.announced(item, done.files)
        with self._timed("stage_out"):
            fetch = partial(self._fetch, item)
            paths = publication.publish(self._ledger, self._attempt, job, item, fetch, done.measured)
        self._weigh(job, item, done)
        self._checkpoints.tidy()
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
            self._starved[failed.index] = failed.error  # the others may need less
            return
        item = self._ledger.job.items[failed.index]
        if item.open:
            yield from self._fail(item, failed.kind, failed.error)

    def _fail(self, item: Item, kind: str, error: str) -> Iterator[Event]:
        self._ledger.fail_item(item.index, kind, error)
        yield ItemFailed(item.index, kind, error)

    def _judge(self, ending: Mapping[str, Any]) -> None:
        left = self.left
        if not left:
            return  # everything is here, however its makers went
        if ending.get("cancelled"):
            raise self._cancelled()
        if self._starved and not ending.get("exit"):
            raise policy.Starved(self._attempt.target, self._starved)
        raise endings.failure(ending, self._attempt, left[0])

    def _cancelled(self) -> Exception:
        if self._stop.requested or not self._ledger.journal.wanted(self._attempt.job):
            return Interrupted("the job was cancelled")
        # By who could not tell whether it came to it; this driver is here because the job is wanted again.
        return policy.NotByUs(f"{self._attempt.target}: the job was ended there")

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[phase] = round(self.timings.get(phase, 0.0) + time.monotonic() - started, 3)
