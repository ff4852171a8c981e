"""What an attempt leaves on its target: nothing, or what is to be looked at. And once a day, what others left there."""

from __future__ import annotations

import time
from contextlib import suppress

from broker import checkpoints, measure, staging
from broker.agent import VERB_SECONDS, Agent
from broker.errors import OffloadError
from broker.job import Attempt, Remains
from broker.keeping import Keeping
from broker.ledger import Ledger
from broker.payloads import prepared
from broker.settings import Settings
from executors.base import Executor, ExecutorError

DAY_SECONDS = 86400.0
HURRY_SECONDS = 5.0
"""How long somebody who said stop twice waits for a target that does not answer."""


class Leaving:
    """The end of an attempt on an entered executor. It never fails: what cannot be done stays noted as remaining."""

    def __init__(self, ledger: Ledger, attempt: Attempt, executor: Executor, settings: Settings) -> None:
        self._ledger, self._attempt, self._executor, self._settings = ledger, attempt, executor, settings

    def end(self, agent: Agent, keep: bool, hurry: bool = False) -> None:
        """End what runs there of it, and clear."""
        with suppress(ExecutorError, OffloadError):  # a target that is gone, or has no runner yet, cannot be told
            self._ledger.check()  # nor is it ours to end what another driver has taken over
            agent.cancel(self._attempt.remote, 0, HURRY_SECONDS if hurry else VERB_SECONDS)
            self.clear(agent, keep)

    def begin_nothing_anew(self, agent: Agent) -> None:
        """End what was just started, if nobody waits for it: another driver took over just before, and is done with it.

        Raises Overtaken then.
        """
        journal = self._ledger.journal
        if any(one.id == self._attempt.id and one.remains for one in self._ledger.attempts):
            return
        journal.cleaned(self._attempt, Remains.ORPHAN)
        with suppress(ExecutorError, OffloadError):
            agent.cancel(self._attempt.remote, 0)
            agent.ack(self._attempt.remote)
            journal.cleaned(self._attempt)
        self._ledger.check()

    def clear(self, agent: Agent, keep: bool) -> None:
        """Leave nothing of the attempt on the target; with `keep`, its directory, to be looked at."""
        with suppress(ExecutorError):  # a job that failed before its script has none
            text = staging.fetch_text(self._executor, f"jobs/{self._attempt.remote}/log.txt")
            self._ledger.keep_log(self._attempt, text)
        if keep:
            self._ledger.journal.cleaned(self._attempt, Remains.KEPT)
            return
        with suppress(ExecutorError, OffloadError):  # it stays noted as something that remains there
            agent.ack(self._attempt.remote)
            self._ledger.journal.cleaned(self._attempt)

    def cleared(self, log: str) -> None:
        """Nothing of the attempt is there any more: its last reply brought the log."""
        self._ledger.keep_log(self._attempt, log)
        self._ledger.journal.cleaned(self._attempt)

    def tidy(self, agent: Agent) -> None:
        """Once a day, let the target delete what failed and forgotten jobs left there."""
        mark = self._settings.state_dir / "tidied" / self._attempt.target
        if mark.exists() and time.time() - mark.stat().st_mtime < DAY_SECONDS:
            return
        with suppress(ExecutorError, OffloadError, OSError):  # it is a courtesy: the job is done
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
            agent.gc(self._settings.keep_days, self._settings.keep_bytes)
            measure.recheck(self._ledger, agent, self._attempt.target)
            checkpoints.sweep(self._ledger.journal, self._settings.keep_days)
            prepared(self._settings, self._ledger.journal).sweep(self._settings.keep_days)
            Keeping(self._ledger, self._attempt, self._settings).tidy()
