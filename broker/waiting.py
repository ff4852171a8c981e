"""Jobs that wait for another machine than this one: until one answers, or until their deadline."""

from __future__ import annotations

import time

from broker.errors import NoTarget, OutOfReach
from broker.job import Job, State
from broker.journal import Journal
from broker.ledger import Ledger
from broker.plan import Candidate
from broker.targets import LOCAL

REMOTE = "remote"
"""What `Job.waits` says of a job that waits for another machine."""


def is_late(job: Job) -> bool:
    """Whether a job waits for another machine, and has been waiting until its deadline."""
    return bool(job.waits) and job.deadline is not None and time.time() >= job.deadline


def admitted(ledger: Ledger, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates that may have a job now: not this machine, while it waits for another;
    but this one first, once its deadline has passed.

    Raises OutOfReach while none of the others answers, NoTarget when its deadline has passed and this machine is not to
    have it: it is then over.
    """
    job = ledger.job
    late = is_late(job)
    found = [candidate for candidate in candidates if late or not job.waits or candidate.target.name != LOCAL]
    if not job.waits or _has_begun(ledger):
        return found
    said = "; ".join(f"{one.target.name}: {one.probe.reason or 'it answers now'}" for one in found)
    if late:
        if all(candidate.target.name != LOCAL for candidate in found):
            raise _missed(ledger, said)
        return sorted(found, key=lambda candidate: candidate.target.name != LOCAL)
    if any(candidate.probe.reachable for candidate in found):
        return found
    raise OutOfReach(
        f"no other machine can take job {job.id} now ({said or 'none is configured'}): it goes on waiting",
        f"offload jobs show {job.id}",
    )


def here_again(journal: Journal, job: Job) -> None:
    """Let a job run here once more that waits for another machine since it failed here: somebody asks for it."""
    failed_here = any(one.target == LOCAL and one.state == "lost" for one in journal.attempts(job.id))
    if job.waits and failed_here and not job.state.over:
        journal.queue.change(job.id, "", None, job.priority)


def _has_begun(ledger: Ledger) -> bool:
    return any(attempt.state == "running" for attempt in ledger.attempts)


def _missed(ledger: Ledger, said: str) -> NoTarget:
    job = ledger.job
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.deadline))
    error = NoTarget(f"no machine took it until its deadline, {when} ({said})", f"offload jobs retry {job.id}")
    ledger.journal.queue.change(job.id, job.waits, None, job.priority)  # to be tried again is not to be late at once
    if job.state is State.QUEUED:
        ledger.advance(State.RUNNING)
    ledger.advance(State.FAILED, str(error), error.exit_code, error.hint)
    return error
