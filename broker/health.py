"""Which targets answer. One that does not is left alone for a while, so it costs its time-out once, not every job.

The breaker lives in the journal, because every command is a new process. It opens when a target cannot be reached or
is lost; when its time is up, one probe is tried (half-open), and an answer closes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from broker.database import Database
from broker.targets import LOCAL, Target
from executors.base import Probe

PROBE_SECONDS = 2.0
FRESH_SECONDS = 30.0
"""How long an answer is good for."""
FIRST_PAUSE = 30.0
LONGEST_PAUSE = 600.0


class Health:
    """The health of all targets. `clock` tells the time in seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = database
        self._clock = clock

    def probe(self, target: Target) -> Probe:
        """What is known of a target: from a moment ago, or from asking it now unless its breaker is open."""
        if target.name == LOCAL:
            return target.executor().probe(PROBE_SECONDS)  # costs nothing, and is never worth a doubt
        row = self._db.row("SELECT * FROM health WHERE target = ? AND identity = ?", (target.name, _identity(target)))
        # A clock set back must not keep a target away for longer than a pause can last.
        if row is not None and 0 <= row["until"] - self._clock() <= LONGEST_PAUSE:
            if row["failures"]:
                again = row["until"] - self._clock()
                return Probe(False, f"{row['reason']} (asked again in {again:.0f} s, or by `offload targets test`)")
            return Probe(**json.loads(row["probe"]))
        return self.ask(target)

    def ask(self, target: Target) -> Probe:
        """Probe the target now, and remember the answer."""
        probe = target.executor().probe(PROBE_SECONDS)
        if probe.reachable:
            self._remember(target, 0, "", FRESH_SECONDS, probe)
        else:
            self.failed(target, probe.reason)
        return probe

    def failed(self, target: Target, reason: str) -> None:
        """Remember that a target could not be reached or was lost: the pause doubles each time in a row."""
        row = self._db.row("SELECT failures FROM health WHERE target = ?", (target.name,))
        failures = (row["failures"] if row else 0) + 1
        pause = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
        self._remember(target, failures, reason, pause, Probe(False, reason))

    def _remember(self, target: Target, failures: int, reason: str, seconds: float, probe: Probe) -> None:
        until = self._clock() + seconds
        values = (target.name, _identity(target), failures, reason, until, json.dumps(asdict(probe)))
        with self._db.write():
            self._db.execute("INSERT OR REPLACE INTO health VALUES (?, ?, ?, ?, ?, ?)", values)


def _identity(target: Target) -> str:
    # A target that was configured anew is another one: nothing is known of it.
    return json.dumps([target.kind, dict(target.options)], sort_keys=True)
