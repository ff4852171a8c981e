"""Orphans: what attempts that were given up may have left on their targets, running or not.

A target that comes back after its job was moved publishes nothing: nobody reads it. What still runs there is ended, and
what lies there deleted, as soon as we are in touch with it again.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

from broker.agent import Agent
from broker.errors import LimitError, OffloadError
from broker.job import ID_CHARS
from broker.journal import Journal
from broker.ledger import Ledger
from executors.base import ExecutorError


def clean(journal: Journal, agent: Agent, target: str) -> int:
    """End and delete the orphans on an entered target; returns how many there were. One that resists is left."""
    done = 0
    for attempt in journal.orphans():
        if attempt.target == target:
            with suppress(ExecutorError, OffloadError):  # it stays in the journal, to be listed and tried again
                agent.cancel(attempt.remote, 0)
                agent.ack(attempt.remote)
                journal.cleaned(attempt)
                done += 1
    return done


def client(folder: Path) -> str:
    """The name by which this user's jobs are told from others' on a target that several use; kept in `folder`.

    Raises LimitError when it cannot be kept.
    """
    path = folder / "client"
    try:
        if not path.exists():
            draft = folder / f"client.{secrets.token_hex(4)}"
            draft.write_text(secrets.token_hex(8))
            draft.replace(path)
        return path.read_text()
    except OSError as error:
        raise LimitError(f"{path} cannot be written: {error.strerror}", "make room there, or set its mode") from error


def strangers(journal: Journal, agent: Agent, client: str) -> list[str]:
    """Names of the jobs on an entered target that are ours, and that the journal knows nothing of."""
    ours = [str(found["job"]) for found in agent.jobs() if found.get("client") == client]
    return [name for name in ours if not journal.with_prefix(name[:ID_CHARS])]


def notices(journal: Journal, targets: Container[str]) -> Iterator[str]:
    """Say of each target what orphans it may hold, and how to be rid of them; `targets` are the configured ones."""
    for target, count in Counter(attempt.target for attempt in journal.orphans()).items():
        what = "an attempt that was given up" if count == 1 else f"{count} attempts that were given up"
        way = f"`offload targets clean {target}` ends and deletes what is left there"
        if target not in targets:
            way = "it is no target any more; add it again, or remove the job with `offload jobs rm`"
        yield f"{target} may still hold {what}: {way}"


def give_up(journal: Journal, target: str) -> None:
    """Forget the orphans on a target that is not ours any more: it deletes them itself after a while."""
    for attempt in journal.orphans():
        if attempt.target == target:
            journal.cleaned(attempt)


def adopt(ledger: Ledger, agent: Agent, target: str) -> None:
    """Take a job's attempts on an entered target into a journal that has lost them: the latest is running there."""
    names = [str(found["job"]) for found in agent.jobs()]
    tails = [name[ID_CHARS:] for name in names if name[:ID_CHARS] == ledger.id]
    numbers = sorted(int(tail) for tail in tails if tail.isdigit())
    for number in numbers:
        attempt = ledger.adopt_attempt(number, target)
        if number != numbers[-1]:
            ledger.end_attempt(attempt, "lost", "found again after the journal was lost", {})
