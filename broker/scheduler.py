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
from broker.errors import ConfigError, OffloadError
from broker.health import LONGEST_PAUSE, identity
from broker.job import FileId
from broker.places import Places
from broker.policy import Patience
from broker.queue import soonest
from broker.slots import Slot, Slots
from broker.targets import Target

NAME = "scheduler"
TICK_SECONDS = 1.0
"""How soon it sees what another process wrote."""

LONGEST_SECONDS = 30.0
"""How long it sleeps at most: the clock may be set, and this machine suspended."""


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
        self._asked: dict[tuple[str, str], tuple[Patience, float]] = {}

    def round(self, broker: Broker) -> Iterator[str]:
        """Ask whom it is time to ask, and start what can be started; tells what is new."""
        places = Places(broker)
        heads = places.heads(broker.drivers())
        wanted = {_key(target): target for head in heads for target in places.away(head)}
        self._asked = {key: asked for key, asked in self._asked.items() if key in wanted}
        for key, target in wanted.items():
            if time.monotonic() >= self._asked.get(key, (None, -math.inf))[1]:
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
            self._asked.pop(_key(target), None)
            return
        if _key(target) not in self._asked:
            known = broker.journal.health.recent(target) or probe
            yield f"{target.name} cannot be reached: {known.reason}; waiting: {count} jobs"
        patience, _ = self._asked.setdefault(_key(target), (Patience(math.inf, longest=LONGEST_PAUSE), 0.0))
        self._asked[_key(target)] = patience, time.monotonic() + (patience.pause() or LONGEST_PAUSE)

    def rest(self, broker: Broker) -> float:
        """Seconds until something is to be looked at, unless the journal tells of it before."""
        due = [until - time.monotonic() for _, until in self._asked.values()]
        deadline = soonest(broker.journal.queue.heads(broker.drivers()))
        due += [deadline - time.time()] if deadline is not None else []
        return max(TICK_SECONDS, min([*due, LONGEST_SECONDS]))


def _key(target: Target) -> tuple[str, str]:
    """A target as it is configured: one that was mended is asked at once."""
    return target.name, identity(target)


def run(config: settings.Settings, lock: int) -> Iterator[str]:
    """Be the scheduler, under a lock that was handed over, until nothing waits. Tells what happens."""
    scheduler, slots = Scheduler(), Slots(config.state_dir / NAME, config.lease_seconds)
    slot: Slot | None = Slot(NAME, NAME, lock)
    while slot:
        with _opened() as broker:
            yield from scheduler.round(broker)
            if broker.journal.queue.heads(broker.drivers()):
                _sleep(broker, scheduler.rest(broker))
                continue
            slot.free()
            slot = None
            if broker.journal.queue.heads(broker.drivers()):  # somebody saw that we were there, just before
                with broker.journal.turn():
                    slot = slots.take(NAME, 1, NAME)


def _opened() -> Broker:
    """A broker, as everything is configured now. A file that makes no sense may be one that is being written."""
    try:
        return Broker(settings.load())
    except ConfigError:
        time.sleep(LONGEST_SECONDS)
        return Broker(settings.load())


def _sleep(broker: Broker, seconds: float) -> None:
    until, before = time.monotonic() + seconds, _versions(broker)
    time.sleep(TICK_SECONDS)
    while time.monotonic() < until and _versions(broker) == before:
        time.sleep(TICK_SECONDS)


def _versions(broker: Broker) -> list[object]:
    """What is another after each write to the journal, and each change of what the user configured."""
    files = (broker.settings.config_dir / name for name in ("config.toml", "targets.toml"))
    return [broker.journal.queue.version(), *map(_as_it_is, files)]


def _as_it_is(file: Path) -> FileId | None:
    with suppress(OSError):  # it is not there
        return FileId.of(file)
    return None


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
