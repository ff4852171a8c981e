"""Orphans: what attempts that were given up may have left on their targets, running or not.

A target that comes back after its job was moved publishes nothing: nobody reads it. What still runs there is ended, and
what lies there deleted, as soon as we are in touch with it again.
"""

from __future__ import annotations

from contextlib import suppress

from broker.agent import Agent
from broker.errors import OffloadError
from broker.journal import Journal
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
