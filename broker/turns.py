"""Turns: a job's driver waits until a target has a slot for it, behind those that come before it.

Only a driver that lives and is not stopped keeps others waiting: each shows that by its lease.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self

from broker import lease
from broker.errors import Interrupted, OutOfReach, UsageError
from broker.events import Event, Note
from broker.ledger import Ledger
from broker.settings import Settings
from broker.slots import Slot, Slots
from broker.stop import Stop
from broker.targets import Target
from broker.waiting import is_late

LOOK_SECONDS = 0.1
"""How often who is next looks for a free slot; the others look less often."""

FAR_SECONDS = 0.5
WAITING = "waiting for "
"""How what is said of a driver that waits begins."""

SAY_SECONDS = 5.0
STILL_SECONDS = 3.0
"""A driver that gave no sign for so long is stopped: it is not waited for."""

YIELD_SECONDS = 2.0
"""How often who waits in the background looks for a job of a higher priority that nobody drives."""


Yields = Callable[[str], bool]
"""Whether a job that nobody drives could start now: who waits gives way to such a one alone."""


class GaveWay(OutOfReach):
    """A job that nobody drives has a higher priority than the one that was waiting: the queue goes on with it."""


class Late(OutOfReach):
    """The deadline of a job that waits for another machine has passed, and the one it waits for is busy."""


class Turn:
    """One driver's turn: it holds a slot of one target at most. With `yields`, it gives way to a higher priority.

    A job that waits for another machine does not wait beyond its deadline, unless it has begun there.
    """

    def __init__(self, ledger: Ledger, settings: Settings, stop: Stop, yields: Yields | None = None) -> None:
        self._ledger = ledger
        self._queue = ledger.journal.queue
        self._leases = settings.state_dir / "leases"
        self._slots = Slots(settings.state_dir / "slots", settings.lease_seconds)
        self._stop = stop
        self._yields = yields
        self._slot: Slot | None = None
        self._said, self._said_at, self._looked = "", -math.inf, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Free the slot, if one is held."""
        if self._slot:
            self._slot.free()
            self._slot = None

    def come(self, target: Target, under_way: bool = False) -> Iterator[Event]:
        """Take a slot on a target, and wait for it where that has to be. A job that is `under_way` there does not wait.

        Raises Interrupted when stopped, Overtaken when another process drives the job, GaveWay, Late.
        """
        if self._slot and self._slot.target == target.name:
            return
        self.leave()
        if not self._take(target) and not under_way:
            yield from self._wait(target)
        if self._ledger.journal.ending(self._ledger.id).error.startswith(WAITING):
            self._ledger.remark("")

    def _wait(self, target: Target) -> Iterator[Event]:
        job = self._ledger.job
        late = is_late(job)
        try:
            while not self._take(target):
                place = self._place(target)
                if self._stop.requested:
                    raise Interrupted(f"stopped while it waited for {target.name}")
                self._ledger.check()
                self._give_way()
                if not late and is_late(job) and not self._has_begun():
                    raise Late(f"job {self._ledger.id} waited for {target.name} until its deadline")
                yield from self._say(target, place)
                self._stop.sleep(LOOK_SECONDS if place < 2 else FAR_SECONDS)
        finally:
            self._queue.leave(self._ledger.id, target.name)

    def _take(self, target: Target) -> bool:
        if self._is_next(target.name):
            with self._ledger.journal.turn():
                if self._is_next(target.name):
                    self._slot = self._slots.take(target.name, target.jobs, self._ledger.id, again=True)
        return self._slot is not None

    def _is_next(self, target: str) -> bool:
        """Whether nobody who lives comes before us. One who has just come is behind all who wait."""
        for job in self._queue.waiting(target):
            if job == self._ledger.id:
                return True
            if lease.held(self._leases, job, STILL_SECONDS):
                return False
        return True

    def _place(self, target: Target) -> int:
        waiting = self._queue.waiting(target.name)
        if self._ledger.id not in waiting:
            self._queue.enter(self._ledger.id, target.name)
            waiting = self._queue.waiting(target.name)
        return waiting.index(self._ledger.id) if self._ledger.id in waiting else 0

    def _give_way(self) -> None:
        if self._yields and time.monotonic() - self._looked > YIELD_SECONDS:
            self._looked = time.monotonic()
            if any(map(self._yields, self._queue.ahead(self._ledger.id, lease.holders(self._leases)))):
                raise GaveWay(f"job {self._ledger.id} lets one of a higher priority go first")

    def _has_begun(self) -> bool:
        return any(attempt.state == "running" for attempt in self._ledger.attempts)

    def _say(self, target: Target, place: int) -> Iterator[Event]:
        before = f"; {place} before this one" if place else ""
        said = f"{WAITING}{target.name}: {self._running(target.name)}{before}"
        if said != self._said and time.monotonic() - self._said_at > SAY_SECONDS:
            self._said, self._said_at = said, time.monotonic()
            self._ledger.remark(said)
            yield Note(said)

    def _running(self, target: str) -> str:
        first, *others = [*self._slots.holders(target)] or [""]
        with suppress(UsageError):  # it has just ended
            job = self._ledger.journal.job(first)
            more = f" and {len(job.items) - 1} more" if len(job.items) > 1 else ""
            what = f"job {job.id} ({job.service} {job.items[0].source.name}{more})"
            return f"{what} and {len(others)} more are running there" if others else f"{what} is running there"
        return "it is busy"
