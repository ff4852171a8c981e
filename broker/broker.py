"""The broker, as services and commands see it: submit, plan, drive, cancel, remove, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from broker import keeper, lease, orphans, publication, receipt, rules, targets, waiting
from broker.backup import Backup, Backups
from broker.contact import Contact
from broker.dispatch import Dispatch
from broker.errors import Ended, Interrupted, NoTarget, OffloadError, Overtaken, UsageError
from broker.events import Event
from broker.job import Attempt, Job, Remains, Request, State
from broker.journal import Journal
from broker.ledger import Ledger
from broker.models.said import Tell, silent
from broker.plan import Candidate
from broker.planner import Planner
from broker.recall import Recall
from broker.settings import Settings
from broker.shelf import Known
from broker.stop import Stop
from broker.submission import Submission
from broker.targets import Target
from broker.turns import Late, Turn, Yields
from broker.watch import watch

LOOK_SECONDS = 0.05
HEED_SECONDS = 0.5
"""How often a driver looks whether somebody asked for its job's end."""

LETTING_GO_SECONDS = 10.0
"""How long the driver of a job that has just ended may take to let go of it, before the job counts as being driven."""

DEPTH = 16
"""How many jobs of a session and kind are looked at for one that can start, where rules part them."""


class Broker:
    """An open broker. Close it, or use it as a context. `notices` is what a person should hear of before all else.

    `tell` hears how far it is with what takes long before there is a job; `weigh` is told of a job that is about to be
    planned, to say how much work its open items are.
    """

    def __init__(self, settings: Settings, tell: Tell = silent) -> None:
        self.settings = settings
        self.targets = targets.load(settings)
        self.journal = Journal(settings.journal)
        self.contact = Contact(self.journal, self.targets, settings)
        if settings.rules:
            self.journal.queue.depth = DEPTH
        self.weigh: Callable[[Job], object] = lambda job: None
        self._planner = Planner(self.targets, self.journal, settings)
        self._backups = Backups(settings.state_dir / "open")
        self._submission = Submission(self.journal, self._backups, self._planner, settings, tell)
        unkept = keeper.notices(settings, self.targets)
        self.notices = [*self._submission.restored(), *orphans.notices(self.journal, self.targets), *unkept]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()

    def unfinished(self, request: Request) -> Job | None:
        """The job of the same request, typed before and never ended. Raises as `submit` does."""
        return self._submission.unfinished(request)

    def submit(self, request: Request, seen: int | None = None) -> Job:
        """Record a job, or find that of the same request (see `Submission.submit`)."""
        return self._submission.submit(request, seen)

    def plan(self, on: str, input_bytes: int, offline: bool = False) -> list[Candidate]:
        """The targets in the order they would be tried. Raises UsageError for an unknown one."""
        return self._planner.plan(targets.choose(self.targets, on), input_bytes, offline)

    def allowed(self, told: Job | Request) -> list[Target]:
        """Where a job may run, by what was asked for and by the rules. Raises as `Planner.allowed`."""
        return self._planner.allowed(told)

    def preview(self, request: Request, amounts: Sequence[float | None], known: Known | None = None) -> list[Candidate]:
        """The plan for a request of which nothing is recorded yet (see `Planner.preview`)."""
        return self._planner.preview(request, amounts, known)

    def made_before(self, request: Request, known: Known | None = None) -> list[Path]:
        """The inputs of a request that would be answered with what is kept (see `Planner.made_before`)."""
        return self._planner.made_before(request, known)

    def drive(self, job: Job, stop: Stop) -> Iterator[Event]:
        """See a job through, from wherever it is; while another process drives it, watch, and be ready to take over.

        One that waits in the background for its turn is left to the queue, and watched.

        Raises what Dispatch does, Ended for a job that ended in an error while another drove it, and Left when
        stopped from watching.
        """
        while not self.journal.job(job.id).state.over:
            if self._is_queued(job.id):
                yield from watch(self.journal, job.id, self.attended, stop)
                continue
            try:
                with self.driving(job, stop) as ledger:
                    yield from self.go_on(ledger, stop)
                return
            except Late:
                continue
            except (lease.Held, Overtaken):
                yield from watch(self.journal, job.id, self.driven, stop)
        ending = self.journal.ending(job.id)
        if ending.error:
            hint = ending.hint or f"offload jobs show {job.id}"
            raise Ended(ending.error, hint, ending.exit_code or OffloadError.exit_code)

    @contextmanager
    def driving(self, job: Job, stop: Stop, handed: int | None = None) -> Iterator[Ledger]:
        """Be the one who drives a job, with a lease of one's own or one `handed` over by who took it.

        `stop` hears when somebody asks for the job's end. Raises Held when another process drives it.
        """
        with self._lease(job, handed) as ledger, self._heeding(job, stop):
            yield ledger

    def go_on(self, ledger: Ledger, stop: Stop, yields: Yields | None = None) -> Iterator[Event]:
        """Drive a job whose lease is held; with `yields`, a higher priority goes first. Raises what Dispatch does."""
        if ledger.job.state.over:  # somebody else has just seen it through
            return
        publication.replay(ledger)
        with Recall(ledger, self.settings, self.targets, self.driven, stop) as recall:
            yield from recall
            self.weigh(ledger.job)
            yield from self._walk(ledger, stop, yields)

    def _walk(self, ledger: Ledger, stop: Stop, yields: Yields | None) -> Iterator[Event]:
        candidates = self._permitted(ledger)
        if ledger.job.state is State.RUNNING and not ledger.attempts:  # restored: it may run somewhere
            self.contact.search(ledger, [candidate.target for candidate in candidates if candidate.probe.reachable])
            candidates = self._planner.of(ledger.job)
        candidates = waiting.admitted(ledger, candidates)
        offline = self.settings.offline or ledger.job.offline
        settings = self.settings.model_copy(update={"offline": offline})
        with Turn(ledger, settings, stop, yields) as turn:
            yield from Dispatch(ledger, candidates, self._planner.here(), stop, settings, turn)
        if not offline:
            self.contact.sweep(ledger)

    @contextmanager
    def _lease(self, job: Job, handed: int | None = None) -> Iterator[Ledger]:
        with lease.hold(self.journal, self._leases, job.id, self.settings.lease_seconds, handed) as ledger:
            try:
                yield ledger
            finally:
                if self._over(job.id):
                    self._backups.drop(job.id)

    def _over(self, job: str) -> bool:
        return not self.journal.is_open(job)

    @contextmanager
    def _heeding(self, job: Job, stop: Stop) -> Iterator[None]:
        """Stop when another process asks for the job's end."""

        def listen() -> None:
            # If it cannot be read: next time. To mend it is for a process that restores what was in it.
            with suppress(OffloadError), Journal(self.settings.journal, mend=False) as journal:
                if not journal.wanted(job.id):
                    stop.request()

        with lease.every(HEED_SECONDS, listen):
            yield

    def _permitted(self, ledger: Ledger) -> list[Candidate]:
        """Where the job may run. One that a rule now keeps from everywhere has come to its end, and raises why."""
        try:
            return self._planner.of(ledger.job)
        except rules.Forbidden as error:
            if ledger.job.state is State.QUEUED:
                ledger.advance(State.RUNNING)
            self._close(ledger, State.FAILED, str(error), error.exit_code, error.hint)
            raise

    @property
    def _leases(self) -> Path:
        return self.settings.state_dir / "leases"

    def driven(self, job: str) -> bool:
        """Whether a living process drives the job."""
        return lease.held(self._leases, job, self.settings.lease_seconds)

    def attended(self, job: str) -> bool:
        """Whether a living process drives the job, or the queue has it."""
        return self.driven(job) or self._is_queued(job)

    def _is_queued(self, job: str) -> bool:
        return self.journal.queue.has(job)

    def drivers(self) -> set[str]:
        """The jobs that living processes drive."""
        return lease.holders(self._leases, self.settings.lease_seconds)

    def take_lease(self, job: Job) -> int:
        """Take a job's lease for another process (see `lease.take`). Raises Held."""
        return lease.take(self.journal, self._leases, job.id, self.settings.lease_seconds)

    def reopen(self, job: Job) -> None:
        """Queue a job again that ended without success. Raises Held while another process is at it."""
        with self._lease(job) as ledger:
            if ledger.job.state.over and ledger.job.state is not State.DONE:
                ledger.reopen()
                self._backups.save(job.id, Backup.of(ledger.job, self.journal.key(job.id)))

    def receipt(self, job: str) -> dict[str, Any]:
        """The job's receipt as one JSON document."""
        return receipt.receipt(self.journal, job)

    def find(self, prefix: str) -> Job:
        """The job whose id starts with `prefix`. Raises UsageError when there is none, or more than one.

        Nothing names none, though every id starts so.
        """
        found = self.journal.with_prefix(prefix) if prefix else []
        if len(found) != 1:
            count = f"{len(found)} jobs are" if found else "no job is"
            raise UsageError(f"{count} named {prefix!r}", "offload jobs ls")
        return self.journal.job(found[0])

    def logs(self, job: Job) -> Iterator[tuple[Attempt, str]]:
        """What each attempt's script said on stderr; of a running one, what it said so far."""
        for attempt in self.journal.attempts(job.id):
            text = self.journal.log(attempt)
            yield attempt, self.contact.log(attempt) if text is None else text

    def check_here(self, script: Path) -> None:
        """Raise MissingHere, with the command that helps, when this machine lacks what a script needs."""
        self.contact.check(self.targets[targets.LOCAL], script)

    def cancel(self, job: Job) -> list[str]:
        """End a job wherever it runs; returns the targets that could not be told, where it may run on as an orphan.

        A driven one is closed by its driver. Raises UsageError for one that is over.
        """
        if job.state.over:
            raise UsageError(f"job {job.id} is {job.state} already", f"offload jobs show {job.id}")
        self.journal.want(job.id, False)
        silent = self.contact.end(self._running(job))
        with suppress(lease.Held), self._lease(job) as ledger:
            self.close_cancelled(ledger)
            self.contact.sweep(ledger)
        return silent

    def close_cancelled(self, ledger: Ledger) -> None:
        """End a job that nothing works at any more, as far as we know."""
        if ledger.job.state.over:  # its driver was quicker
            return
        self._close(ledger, State.CANCELLED, "cancelled", Interrupted.exit_code)

    def _close(self, ledger: Ledger, state: State, why: str, exit_code: int, hint: str = "") -> None:
        for attempt in self._running(ledger.job):
            ledger.end_attempt(attempt, "cancelled", why, {})
        publication.tidy(ledger)
        ledger.advance(state, why, exit_code, hint)

    def remove(self, job: Job) -> None:
        """Forget a job, and delete what it left here and on its targets. Published results stay.

        Raises UsageError while it is driven, NoTarget while something of it is on a target that cannot be reached.
        """
        self._outlast_driver(job)
        try:
            with self._lease(job) as ledger:
                self._remove(ledger)
        except lease.Held as error:
            raise UsageError(f"job {job.id} is running", f"offload jobs cancel {job.id}") from error

    def _outlast_driver(self, job: Job) -> None:
        """Wait for who has just seen a job through: between its last word and its end there is a moment."""
        deadline = time.monotonic() + LETTING_GO_SECONDS
        while self._over(job.id) and self.driven(job.id) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def _remove(self, ledger: Ledger) -> None:
        left = [attempt for attempt in ledger.attempts if attempt.remains is not Remains.NOTHING]
        if silent := self.contact.end(left, delete=True):
            what = (
                f"{' and '.join(silent)} cannot be reached, and may still hold part of job {ledger.id}: try again later"
            )
            raise NoTarget(what, f"offload jobs rm {ledger.id}")
        publication.discard_parts(ledger.job)
        self._backups.drop(ledger.id)  # first: a backup without a job would bring it back
        self.journal.forget(ledger.id)

    def _running(self, job: Job) -> Sequence[Attempt]:
        return [attempt for attempt in self.journal.attempts(job.id) if attempt.state == "running"]
