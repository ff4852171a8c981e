"""Walk the plan: try one target after the other until every item is done or has failed for a reason of its own."""

from __future__ import annotations

from collections.abc import Iterator

from broker import policy, publication
from broker.attempt import Run
from broker.errors import InputError, Interrupted, JobFailed, NoTarget, OffloadError
from broker.events import Event, Note, Started
from broker.job import Attempt, Job, State, verdict
from broker.journal import Journal
from broker.plan import Candidate
from broker.settings import Settings
from broker.stop import Stop
from broker.targets import LOCAL
from executors.base import Refused, Unreachable


class Dispatch:
    """A job on its way through the plan. Iterate it to drive it to its end.

    Raises NoTarget (or the last target's own error) when none could take it, JobFailed when the script failed,
    Interrupted when stopped. The job is then over; for any other error it stays open, and can be taken up again.
    """

    def __init__(self, journal: Journal, job: Job, plan: list[Candidate], stop: Stop, settings: Settings) -> None:
        self._journal = journal
        self._job = job
        self._plan = plan
        self._stop = stop
        self._settings = settings

    def __iter__(self) -> Iterator[Event]:
        if self._job.state is State.QUEUED:
            self._journal.advance(self._job.id, State.RUNNING)
        try:
            yield from self._walk()
        except Interrupted as error:
            self._close(State.CANCELLED, str(error))
            raise
        except (KeyboardInterrupt, GeneratorExit):
            self._close(State.CANCELLED, "stopped at once")
            raise
        except (JobFailed, InputError, NoTarget, *policy.MOVABLE) as error:
            self._close(State.FAILED, str(error))
            raise
        self._close(verdict(self._journal.job(self._job.id).items), "")

    def _close(self, state: State, error: str) -> None:
        job = self._journal.job(self._job.id)
        publication.tidy(self._journal, job)
        if not job.state.over:
            self._journal.advance(self._job.id, state, error)

    def _walk(self) -> Iterator[Event]:
        failures: list[Exception] = []
        for candidate in self._tries(failures):
            if failures:
                yield Note(f"{_sentences(failures)}; going on with {candidate.target.name}")
                failures.clear()
            try:
                yield from self._attempt(candidate)
                return
            except policy.MOVABLE as error:
                failures.append(error)
        raise failures[0] if len(failures) == 1 else NoTarget(_sentences(failures) or "no target", "offload targets ls")

    def _tries(self, failures: list[Exception]) -> Iterator[Candidate]:
        """Candidates, one after the other as long as they fail; `failures` is why, told by both sides."""
        for candidate in self._plan if self._job.fallback else self._plan[:1]:
            if not candidate.probe.reachable:
                failures.append(Unreachable(f"{candidate.target.name}: {candidate.probe.reason}"))
                continue
            yield candidate
            for _ in range(policy.RUNS_HERE - 1 if candidate.target.name == LOCAL else 0):
                if isinstance(failures[-1], policy.REPEATABLE):
                    yield candidate

    def _attempt(self, candidate: Candidate) -> Iterator[Event]:
        attempt = self._taken_up(candidate) or self._journal.begin_attempt(
            self._job.id, candidate.target.name, candidate.reason
        )
        run = Run(self._journal, attempt, candidate.target.executor(), self._stop, self._settings)
        yield Started(attempt.target, attempt.reason)
        try:
            yield from run
        except policy.MOVABLE as error:
            self._journal.end_attempt(attempt, "lost", str(error), run.timings)
            if isinstance(error, policy.ABSENT) and candidate.target.name != LOCAL:
                self._journal.health.failed(candidate.target, str(error))
            raise
        except (JobFailed, InputError) as error:
            self._journal.end_attempt(attempt, "failed", str(error), run.timings)
            raise
        except (Interrupted, KeyboardInterrupt, GeneratorExit) as error:
            self._journal.end_attempt(attempt, "cancelled", str(error), run.timings)
            raise
        self._journal.end_attempt(attempt, "done", "", run.timings)

    def _taken_up(self, candidate: Candidate) -> Attempt | None:
        """The attempt that a killed follower left running on this target: the same name finds the same job there."""
        left = [attempt for attempt in self._journal.attempts(self._job.id) if attempt.state == "running"]
        return next((attempt for attempt in left[-1:] if attempt.target == candidate.target.name), None)


def _sentences(errors: list[Exception]) -> str:
    return "; ".join(map(_sentence, errors))


def _sentence(error: Exception) -> str:
    loud = "REFUSED: " if isinstance(error, Refused) else ""
    hint = f" ({error.hint})" if isinstance(error, OffloadError) and error.hint else ""
    return f"{loud}{error}{hint}"
