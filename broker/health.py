"""Which targets answer. One that does not is left alone for a while, so it costs its time-out once, not every job.

The breaker lives in the journal, because every command is a new process. It opens when a target cannot be reached or
is lost; when its time is up, one probe is tried (half-open), and an answer closes it. What is mended here (a package to
install, a key to trust, a line of configuration) opens no breaker: it counts as soon as it is mended. Only what nobody
sees from outside (a login that is refused, a quota) is good for as long as any answer, once it was found inside.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from broker.database import Database
from broker.targets import LOCAL, Target
from executors.base import Probe
from executors.unasked import OFFLINE

FRESH_SECONDS = 30.0
"""How long an answer is good for."""
FIRST_PAUSE = 30.0
LONGEST_PAUSE = 600.0
LAPSED = -1.0
"""Seconds that a refusal is good for which a look sees: it is remembered, and asked about again."""

LASTING = ("cpus", "gpu", "gpu_memory_bytes", "memory_bytes")
"""What a target has for longer than an answer is good for."""
DISK = "disk_free_bytes"
DISK_SECONDS = 3600.0
"""How long what was seen of a target's free space is believed."""


class Health:
    """The health of all targets. `clock` tells the time in seconds since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = database
        self._clock = clock

    def probe(self, target: Target) -> Probe:
        """What is known of a target: from a moment ago, or from asking it now unless its breaker is open."""
        if target.name == LOCAL or target.kind == OFFLINE:
            return _look(target)  # costs nothing, and is never worth a doubt
        row = self._row(target)
        # A clock set back must not keep a target away for longer than a pause can last.
        if row is not None and 0 <= row["until"] - self._clock() <= LONGEST_PAUSE:
            known = _probe(row)
            if known.reachable:
                return known
            again = f"asked again in {row['until'] - self._clock():.0f} s, or by `offload targets test {target.name}`"
            return replace(known, reason=f"{row['reason']} ({again})")
        return self.ask(target)

    def known(self, target: Target) -> Probe | None:
        """What it answered when it was asked last, however long ago; None where it never was. This machine is asked."""
        if target.name == LOCAL:
            return _look(target)
        row = self._row(target)
        return _probe(row) if row is not None else None

    def recent(self, target: Target) -> Probe | None:
        """What is known of a target without asking anybody: None when that is too old, or nothing."""
        row = self._row(target)
        return _probe(row) if row is not None and 0 <= row["until"] - self._clock() <= LONGEST_PAUSE else None

    def ask(self, target: Target) -> Probe:
        """Probe the target now, and remember what it answers."""
        probe = _look(target)
        return self._note(target, probe, LAPSED) if target.kind != OFFLINE else probe  # which tells nothing of it

    def found(self, target: Target, probe: Probe) -> None:
        """Remember what somebody found who entered, or tried to. This machine is looked at each time all the same."""
        if target.name != LOCAL:
            self._note(target, probe, FRESH_SECONDS)

    def lapse(self, target: Target) -> None:
        """Have the target asked again by whoever wants to know next: something is being done about what it says."""
        with self._db.write_lightly():
            self._db.execute("UPDATE health SET until = ? WHERE target = ?", (self._clock() + LAPSED, target.name))

    def failed(self, target: Target, reason: str) -> None:
        """Remember that a target could not be reached or was lost: the pause doubles each time in a row."""
        self._failed(target, Probe(False, reason.removeprefix(f"{target.name}: ")))

    def learned(self, target: Target, **facts: Any) -> None:
        """Remember what was seen of a target from inside: fields of its Probe that looks from outside do not tell."""
        self._remember(target, 0, "", FRESH_SECONDS, replace(self._with_known(target, Probe(True)), **facts))

    def _note(self, target: Target, probe: Probe, refused_seconds: float) -> Probe:
        if probe.away:
            return self._failed(target, probe)
        probe = self._with_known(target, probe)
        self._remember(target, 0, probe.reason, FRESH_SECONDS if probe.reachable else refused_seconds, probe)
        return probe

    def _failed(self, target: Target, probe: Probe) -> Probe:
        row = self._row(target)
        failures = (row["failures"] if row else 0) + 1
        pause = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
        probe = self._with_known(target, probe)
        self._remember(target, failures, probe.reason, pause, probe)
        return probe

    def _with_known(self, target: Target, probe: Probe) -> Probe:
        """`probe`, with what lasts of what was known before."""
        row = self._row(target)
        if row is None:
            return probe
        before, lasts = _probe(row), 0 <= self._clock() - _fields(row)["disk_at"] <= DISK_SECONDS
        names = (*LASTING, DISK) if lasts else LASTING
        return replace(probe, **{name: getattr(before, name) for name in names if getattr(probe, name) is None})

    def _row(self, target: Target) -> Any:
        return self._db.row("SELECT * FROM health WHERE target = ? AND identity = ?", (target.name, identity(target)))

    def _remember(self, target: Target, failures: int, reason: str, seconds: float, probe: Probe) -> None:
        until, fields = self._clock() + seconds, {**asdict(probe), "disk_at": self._disk_at(target, probe)}
        values = (target.name, identity(target), failures, reason, until, json.dumps(fields))
        with self._db.write_lightly():  # who has lost it asks again
            self._db.execute("INSERT OR REPLACE INTO health VALUES (?, ?, ?, ?, ?, ?)", values)

    def _disk_at(self, target: Target, probe: Probe) -> float:
        """When the free space was seen that a probe tells."""
        row = self._row(target)
        before = _fields(row) if row is not None else {}
        carried = probe.disk_free_bytes is not None and before.get(DISK) == probe.disk_free_bytes
        return float(before["disk_at"]) if carried else self._clock()


def _look(target: Target) -> Probe:
    executor = target.executor()
    return executor.probe(executor.look_seconds)


def _probe(row: Any) -> Probe:
    fields = _fields(row)
    del fields["disk_at"]
    return Probe(**{**fields, "steps": tuple(fields.get("steps", ()))})


def _fields(row: Any) -> dict[str, Any]:
    return {"disk_at": 0.0, **json.loads(row["probe"])}


def identity(target: Target) -> str:
    """What tells a target from another of its name: one that was configured anew is one of which nothing is known."""
    return json.dumps([target.kind, dict(target.options)], sort_keys=True)
