"""The scheduler: one process in the background that starts what waits, as slots get free and targets answer.

It is there while a detached job has nobody to drive it. It asks the targets that are away, with growing pauses, however
many jobs wait for them. It may die at any moment: what waits is in the journal, and the next command, or the next
follower that ends, starts another.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from broker import background, followers, settings
from broker.broker import Broker
from broker.errors import OffloadError
from broker.health import LONGEST_PAUSE
from broker.places import Places
from broker.policy import Patience
from broker.queue import soonest
from broker.slots import Slot, Slots
from broker.targets import Target

NAME = "scheduler"
TICK_SECONDS = 1.0
"""How soon it sees what another process wrote."""

LONGEST_SECONDS = 30.0
"""How long it sleeps at most: the clock may be set, a target added, and this machine suspended."""


def ensure(broker: Broker) -> None:
    """See to it that there is one. Raises OSError when none can be started."""
    folder = broker.settings.state_dir / NAME
    with broker.journal.turn():
        slot = Slots(folder, broker.settings.lease_seconds).take(NAME, 1, NAME)
    if slot:
        with slot:
            background.spawn(__name__, log_path(broker.settings), NAME, slot.lock)


def log_path(config: settings.Settings) -> Path:
    """Where it writes; it begins anew with each."""
    return config.state_dir / NAME / "log"


class Scheduler:
    """Starts what waits. `say` hears when a target that jobs wait for is away, and when it is back."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[Patience, float]] = {}

    def round(self, broker: Broker) -> Iterator[str]:
        """Ask whom it is time to ask, and start what can be started; tells what is new."""
        places = Places(broker)
        heads = places.heads(broker.drivers())
        wanted = {target.name: target for head in heads for target in places.away(head)}
        self._asked = {name: asked for name, asked in self._asked.items() if name in wanted}
        for target in wanted.values():
            if time.monotonic() >= self._asked.get(target.name, (None, -math.inf))[1]:
                yield from self._ask(broker, target, sum(head.count for head in heads))
        with suppress(OffloadError):  # no process can be started now: in the next round
            followers.fill(broker)
        with suppress(ChildProcessError):  # those that have ended are to leave nothing behind
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue

    def _ask(self, broker: Broker, target: Target, count: int) -> Iterator[str]:
        probe = broker.journal.health.probe(target)
        if probe.reachable:
            yield f"{target.name} answers"
            self._asked.pop(target.name, None)
            return
        if target.name not in self._asked:
            known = broker.journal.health.recent(target) or probe
            yield f"{target.name} cannot be reached: {known.reason}; waiting: {count} jobs"
        patience, _ = self._asked.setdefault(target.name, (Patience(math.inf, longest=LONGEST_PAUSE), 0.0))
        self._asked[target.name] = patience, time.monotonic() + (patience.pause() or LONGEST_PAUSE)

    def rest(self, broker: Broker) -> float:
        """Seconds until something is to be looked at, unless the journal tells of it before."""
        due = [until - time.monotonic() for _, until in self._asked.values()]
        deadline = soonest(broker.journal.queue.heads(broker.drivers()))
        due += [deadline - time.time()] if deadline is not None else []
        return max(TICK_SECONDS, min([*due, LONGEST_SECONDS]))


def run(config: settings.Settings, lock: int) -> Iterator[str]:
    """Be the scheduler, under a lock that was handed over, until nothing waits. Tells what happens."""
    scheduler, slots = Scheduler(), Slots(config.state_dir / NAME, config.lease_seconds)
    slot: Slot | None = Slot(NAME, NAME, lock)
    while slot:
        with Broker(config) as broker:  # anew each time: targets may have been added
            yield from scheduler.round(broker)
            if broker.journal.queue.heads(broker.drivers()):
                _sleep(broker, scheduler.rest(broker))
                continue
            slot.free()
            slot = None
            if broker.journal.queue.heads(broker.drivers()):  # somebody saw that we were there, just before
                with broker.journal.turn():
                    slot = slots.take(NAME, 1, NAME)


def _sleep(broker: Broker, seconds: float) -> None:
    until, version = time.monotonic() + seconds, broker.journal.queue.version()
    time.sleep(TICK_SECONDS)
    while time.monotonic() < until and broker.journal.queue.version() == version:
        time.sleep(TICK_SECONDS)


def main() -> None:
    """Be the scheduler, under the lock that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with suppress(OSError):  # no room for a log is no reason to let jobs wait
        log_path(config := settings.load()).write_bytes(b"")
    try:
        for line in run(config, int(sys.argv[2])):
            _tell(line)
    except OffloadError as error:  # the journal cannot be used: the next command tells
        _tell(str(error))


def _tell(line: str) -> None:
    with suppress(OSError):
        print(time.strftime("%Y-%m-%d %H:%M:%S"), ascii(line)[1:-1], flush=True)
