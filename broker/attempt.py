"""One job on one target: stage in, start, follow while it delivers, acknowledge."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from broker import endings, keeper, measure, orphans, policy, reports, staging, supplies
from broker.agent import Agent, Batch
from broker.delivery import Delivery, Locks
from broker.errors import Interrupted, JobFailed
from broker.events import Event, Note
from broker.job import Attempt, Item, Job
from broker.leaving import Leaving
from broker.ledger import Ledger
from broker.models.pin import Pin
from broker.order import order, told, unchanged
from broker.payloads import prepared
from broker.reports import Models, Report
from broker.scripts import bundle
from broker.settings import Settings
from broker.staging import Piece
from broker.stop import Stop
from broker.supplies import Lacks, ModelFiles, Packages
from broker.wheels import Wants
from executors.base import Executor, Gone

POLL_SECONDS = 1.0


class Run:
    """A running attempt. Iterate it to drive it; it ends when every item is done or has failed.

    A target that falls silent in the middle is waited for, since a link that broke or a laptop that slept is no reason
    to begin anew. `begun` tells whether the job may be running there, `ease` how often memory ran out there before.
    An attempt at some of the items only has others beside it: they exclude each other with `locks`, one for each item.

    Raises ExecutorError when the target fails us, JobFailed when the script does, Interrupted when stopped, Overtaken
    when another process drives the job now.
    """

    delivers = Delivery

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
        self._payloads = prepared(settings, ledger.journal)
        self._leaving = Leaving(ledger, attempt, executor, settings)
        self._delivery = self.delivers(ledger, attempt, executor, stop, settings, self.timings, locks)
        self._patience = policy.Patience(settings.grace_seconds)
        self._reached = begun
        self._since = 0
        self._lacks: dict[str, Lacks] = {}
        self._supplied: set[str] = set()
        self._pins: Mapping[str, Pin] = {}
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
        self._delivery.checkpoints.tidy()
        items = yield from self._delivery.unchanged(self.left)
        if self._stop.requested:
            raise Interrupted("stopped before it ran")
        if not items:
            self._leaving.end(agent, keep=False)  # a killed follower may have left it running
            return
        found = self._models(job)
        with measure.timed(self.timings, "stage_in"):
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
            with measure.timed(self.timings, lacks.what):
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
        with measure.timed(self.timings, "run"):
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
        return self._delivery.checkpoints.offer(items)

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

    def _take(self, report: Report | None) -> Iterator[Event]:
        self.sheet.heard(report)
        match report:
            case Wants():
                self._lacks["offline"] = Packages(report)
            case Models():
                self._lacks["no_model"] = ModelFiles(report, self._pins.values())
            case _:
                yield from self._delivery.take(report)

    def _is_outrun(self) -> bool:
        """Whether others have done what was left of this attempt's items."""
        return self._attempt.items is not None and not self.left

    def _end(self, batch: Batch) -> Mapping[str, Any]:
        if batch.state != "ended":
            raise Gone(f"{self._attempt.target}: the job's supervisor is gone")
        self._log = batch.log
        return batch.ending

    def _judge(self, ending: Mapping[str, Any]) -> None:
        left = self.left
        if not left:
            return  # everything is here, however its makers went
        if ending.get("cancelled"):
            raise self._cancelled()
        if self._delivery.starved and not ending.get("exit"):
            raise policy.Starved(self._attempt.target, self._delivery.starved)
        raise endings.failure(ending, self._attempt, left[0])

    def _cancelled(self) -> Exception:
        if self._stop.requested or not self._ledger.journal.wanted(self._attempt.job):
            return Interrupted("the job was cancelled")
        # By who could not tell whether it came to it; this driver is here because the job is wanted again.
        return policy.NotByUs(f"{self._attempt.target}: the job was ended there")
