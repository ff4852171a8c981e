"""Walk the plan: try one target after the other until every item is done or has failed for a reason of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from broker import measure, policy, publication
from broker.attempt import Run
from broker.delivery import Locks
from broker.errors import (
    InputError,
    Interrupted,
    JobFailed,
    NoTarget,
    OffloadError,
    OutOfReach,
    Overtaken,
    batch_exit_code,
)
from broker.events import Event, ItemFailed, Note, Started
from broker.job import Attempt, State, verdict
from broker.ledger import Ledger
from broker.payloads import prepared
from broker.plan import Candidate
from broker.preparation import Preparation, lacking
from broker.settings import Settings
from broker.spread import Spread
from broker.stop import Stop
from broker.targets import LOCAL
from broker.turns import Turn
from broker.waiting import REMOTE
from executors.base import ExecutorError, Gone, OutOfMemory, Refused

EASED = (
    "",
    "again in smaller batches: its memory did not suffice",
    "again on the processor alone: its memory did not suffice",
)
"""Why a target has the job once more, by how often memory ran out there before."""


class Dispatch:
    """A job on its way through the plan. Iterate it to drive it to its end.

    Raises NoTarget (or the last target's own error) when none could take it, JobFailed when the script failed,
    Interrupted when stopped. The job is then over. For any other error it stays open, and can be taken up again:
    OutOfReach when the one target left went silent with the job, Overtaken when another process drives it now.
    """

    def __init__(
        self, ledger: Ledger, plan: list[Candidate], here: Candidate, stop: Stop, settings: Settings, turn: Turn
    ) -> None:
        self._ledger = ledger
        self._turn = turn
        self._here = here
        self._job = ledger.job
        self._plan = plan if self._job.fallback else plan[:1]
        self._stop = stop
        self._ease: Counter[str] = Counter()
        self._failed: dict[str, Exception] = {}
        self._settings = settings

    def __iter__(self) -> Iterator[Event]:
        try:
            yield from self._spread()
            if self._is_anything_left():
                yield from self._walk()
        except (OutOfReach, Overtaken):
            raise
        except Interrupted as error:
            self._close(State.CANCELLED, str(error), error.exit_code)
            raise
        except (KeyboardInterrupt, GeneratorExit):
            self._close(State.CANCELLED, "stopped at once", Interrupted.exit_code)
            raise
        except (JobFailed, InputError, NoTarget, *policy.MOVABLE) as error:
            self._close(State.FAILED, str(error), error.exit_code, error.hint)
            raise
        items = self._ledger.job.items
        self._close(verdict(items), "", batch_exit_code([item.kind for item in items]))

    def _close(self, state: State, error: str, exit_code: int, hint: str = "") -> None:
        publication.tidy(self._ledger)
        if not self._ledger.job.state.over:
            if state is not State.CANCELLED:
                self._begin()
            self._ledger.advance(state, error, exit_code, hint)

    def _begin(self) -> None:
        if self._ledger.job.state is State.QUEUED:
            self._ledger.advance(State.RUNNING)

    def _is_anything_left(self) -> bool:
        """Whether there is something to do or to end; not where a driver was killed just before it closed the job."""
        running = any(attempt.state == "running" for attempt in self._ledger.attempts)
        return running or bool(self._ledger.job.open_items)

    def _prepare(self) -> Iterator[Event]:
        """Make of the inputs what the job works on: here, whichever target goes on."""
        job, payloads = self._ledger.job, prepared(self._settings, self._ledger.journal)
        for item in lacking(job, payloads):
            if known := payloads.known(job, item):
                self._ledger.note_payload(item.index, known)
        for once_more in (True, False):
            if not lacking(self._ledger.job, payloads):
                return
            try:
                yield from self._attempt(self._here, Preparation)
            except policy.REPEATABLE as error:
                if not once_more:
                    raise
                yield Note(f"{_sentence(error)}; trying again")
        if lacking(self._ledger.job, payloads):
            raise policy.Unprepared("what was prepared of the inputs does not stay in the cache")

    def _spread(self) -> Iterator[Event]:
        """Share the items among all targets that help, if that was asked for. What is left is then for one of them."""
        able = [one for one in self._plan if (one.probe.reachable and not one.unfit) or self._taken_up(one)]
        if self._job.spread and len(able) > 1 and len(self._job.open_items) > 1:
            self._begin()
            if self._job.prepare:
                yield from self._turn.come(self._here.target)
                yield from self._prepare()
                self._turn.leave()  # each share waits for a turn of its own
            yield from Spread(self._ledger, able, self._share, self._stop, self._settings)

    def _share(
        self, ledger: Ledger, candidate: Candidate, items: Sequence[int], stop: Stop, locks: Locks
    ) -> Iterator[Event]:
        others = [one for one in self._plan if one is not candidate]
        reason = f"{len(items)} of {len(self._job.items)} inputs: shared among the targets that help"
        mine = replace(candidate, reason=reason)
        with Turn(ledger, self._settings, stop) as turn:
            share = Dispatch(ledger, [mine, *others], self._here, stop, self._settings, turn)
            yield from turn.come(mine.target, under_way=share._taken_up(mine) is not None)
            yield from share._attempt(mine, Run, items, locks)

    def _walk(self) -> Iterator[Event]:
        failures: list[Exception] = []
        for candidate in self._tries(failures):
            if failures:
                yield Note(f"{_sentences(failures)}; {self._so_far()}going on with {candidate.target.name}")
                failures.clear()
            yield from self._turn.come(candidate.target, under_way=self._taken_up(candidate) is not None)
            self._begin()
            yield from self._prepare()
            if not self._is_anything_left():  # none of the inputs is what it should be
                return
            try:
                yield from self._attempt(candidate)
                if self._ledger.job.open_items:  # what it had was a share, of a job that was once spread
                    yield from self._attempt(candidate)
                return
            except policy.MOVABLE as error:
                failures.append(error)
                if candidate.target.name == LOCAL or not policy.may_be_back(error):
                    self._failed[candidate.target.name] = error
        if self._job.detached and any(policy.may_be_back(one) for one in failures if one not in self._failed.values()):
            self._not_here_again()
            raise OutOfReach(_sentences(failures), f"offload jobs attach {self._job.id}")
        if failures and isinstance(failures[-1], policy.Starved):
            yield from self._give_up(failures[-1])
            return
        raise failures[0] if len(failures) == 1 else NoTarget(_sentences(failures) or "no target", "offload targets ls")

    def _not_here_again(self) -> None:
        """A job that failed here waits for another machine: by itself it is not tried here once more."""
        if LOCAL in self._failed:
            self._ledger.check()
            self._ledger.journal.queue.change(self._job.id, REMOTE, None, self._job.priority)

    def _give_up(self, starved: policy.Starved) -> Iterator[Event]:
        """What no memory suffices for fails alone: the other items are done."""
        for index, error in starved.items.items():
            self._ledger.fail_item(index, "memory", error)
            yield ItemFailed(index, "memory", error)

    def _so_far(self) -> str:
        items = self._ledger.job.items
        done = sum(item.done for item in items)
        return f"{done} of {len(items)} are done; " if done else ""

    def _tries(self, failures: list[Exception]) -> Iterator[Candidate]:
        """Candidates, one after the other as long as they fail; `failures` is why, told by both sides."""
        for candidate in self._plan:
            if not candidate.probe.reachable and self._taken_up(candidate) is None:
                failures.append(candidate.probe.error(candidate.target.name))
                continue
            yield candidate
            while self._may_ease(candidate, failures[-1]):
                self._ease[candidate.target.name] += 1
                yield candidate
            for _ in range(policy.RUNS_HERE - 1):
                if self._may_again(candidate, failures[-1]):
                    yield candidate

    def _may_ease(self, candidate: Candidate, failure: Exception) -> bool:
        """Whether a target whose memory did not suffice may do the job in another way: only scripts with models can."""
        left = self._ease[candidate.target.name] < len(EASED) - 1
        return left and isinstance(failure, OutOfMemory) and bool(self._job.models)

    def _may_again(self, candidate: Candidate, failure: Exception) -> bool:
        """Whether a target that lost a job may have it again: this machine, a well one, one that can rent another."""
        target = candidate.target
        if isinstance(failure, policy.NotByUs | policy.Unprepared):
            return True
        if target.name == LOCAL:
            return isinstance(failure, policy.REPEATABLE)
        rentable = isinstance(failure, Gone) and target.rented() is not None
        return rentable and self._ledger.journal.health.ask(target).reachable

    def _attempt(
        self, candidate: Candidate, kind: type[Run] = Run, items: Sequence[int] | None = None, locks: Locks = ()
    ) -> Iterator[Event]:
        prepares, name = kind is Preparation, candidate.target.name
        left, ease = self._taken_up(candidate, prepares), self._ease[name]
        foreseen = candidate.foreseen(prepares or items is not None, ease)
        attempt = left or self._ledger.begin_attempt(name, EASED[ease] or candidate.reason, prepares, items, foreseen)
        executor = candidate.target.executor()
        run = kind(self._ledger, attempt, executor, self._stop, self._settings, left is not None, ease, locks)
        yield Started(attempt.target, attempt.reason)
        try:
            yield from measure.measured(run, self._ledger, candidate.target, left is not None or ease > 0, prepares)
            self._well(candidate)
        except policy.MOVABLE as error:
            if run.left:  # else everything is here, however its makers went
                self._lost(candidate, attempt, run, error)
                raise
        except (JobFailed, InputError) as error:
            self._ledger.end_attempt(attempt, "failed", str(error), run.timings)
            raise
        except (Interrupted, KeyboardInterrupt, GeneratorExit) as error:
            self._ledger.end_attempt(attempt, "cancelled", str(error), run.timings)
            raise
        self._ledger.end_attempt(attempt, "done", "", run.timings)

    def _well(self, candidate: Candidate) -> None:
        """What another job had of a target does not count any more, once one has ended well there."""
        if candidate.target.name != LOCAL:
            self._ledger.journal.health.learned(candidate.target)

    def _lost(self, candidate: Candidate, attempt: Attempt, run: Run, error: Exception) -> None:
        name = candidate.target.name
        if policy.may_be_back(error) and name != LOCAL:
            self._ledger.journal.health.failed(candidate.target, str(error))
            if run.begun and not self._others(candidate):
                hint = f"the same command, or `offload jobs attach {self._job.id}`, takes it up when {name} is back"
                raise OutOfReach(f"{error}; the job may be going on there", hint) from error
        self._ledger.end_attempt(attempt, "lost", str(error), run.timings)

    def _others(self, candidate: Candidate) -> list[Candidate]:
        """Targets left to try after this one."""
        after = self._plan[self._plan.index(candidate) + 1 :]
        return [other for other in after if other.probe.reachable]

    def _taken_up(self, candidate: Candidate, prepares: bool = False) -> Attempt | None:
        """The attempt that a killed follower left running on this target: the same name finds the same job there."""
        known = [attempt for attempt in self._ledger.attempts if attempt.prepares is prepares]
        left = [one for one in known if one.state == "running" and one.target == candidate.target.name]
        return left[-1] if left else None


def _sentences(errors: list[Exception]) -> str:
    return "; ".join(map(_sentence, errors))


def _sentence(error: Exception) -> str:
    loud = "REFUSED: " if isinstance(error, Refused) else ""
    hint = f" ({error.hint})" if isinstance(error, OffloadError | ExecutorError) and error.hint else ""
    return f"{loud}{error}{hint}"
