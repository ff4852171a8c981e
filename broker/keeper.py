"""Keepers: a process in the background for each rented machine, which keeps it alive while it is needed, and no longer.

A machine is needed while somebody drives a job on it. With work on it that nobody drives (of a command that was killed,
or that was to be kept) it stays for the target's `keep` seconds, with none for its `idle` seconds; then it is given
back. A keeper may die at any moment: the next service, `jobs` or `doctor` command starts another.
"""

from __future__ import annotations

import fcntl
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from broker import background, lease, settings, targets
from broker.errors import LimitError, OffloadError
from broker.journal import Journal
from broker.targets import Target
from executors.base import Executor, ExecutorError, Gone, Refused, Unreachable
from executors.rented import Holding, Rented

ALIVE_SECONDS = 60.0
"""How often a machine is said to be in use."""

TAKING_SECONDS = 0.5

AGAIN_SECONDS = 5.0
"""When what is to be given back cannot be reached."""


def start(config: settings.Settings, executor: Executor) -> None:
    """Start a keeper for a rented machine, which may be about to be taken, unless it has one. Raises LimitError."""
    if not isinstance(executor, Rented):
        return
    try:
        lock = _take(_path(config, executor.name, "lock"))
        if lock is not None:
            try:
                background.spawn(__name__, _path(config, executor.name, "log"), executor.name, lock)
            finally:
                os.close(lock)
    except OSError as error:
        what = f"no process can be started that keeps what {executor.name} holds: {error.strerror}"
        raise LimitError(what, f"offload targets release {executor.name}") from error


@contextmanager
def in_use(executor: Executor) -> Iterator[None]:
    """Keep an entered machine from being taken for idle by its keeper, though no job is driven there."""
    holding = executor.held() if isinstance(executor, Rented) else None
    if holding is None or not isinstance(executor, Rented):
        yield
        return
    with lease.every(min(max(holding.idle / 2, 0.1), ALIVE_SECONDS), executor.use):
        yield


def revive(config: settings.Settings, among: Mapping[str, Target]) -> None:
    """Start a keeper for each machine that has lost its own."""
    for executor in _renting(among):
        with suppress(OffloadError, ExecutorError):  # the command at hand is about something else; the next tries again
            if executor.held():
                start(config, executor)


def notices(config: settings.Settings, among: Mapping[str, Target]) -> Iterator[str]:
    """Say of each machine that nobody looked after that it is held, and how to be rid of it."""
    for executor in _renting(among):
        with suppress(ExecutorError):  # what is wrong with its configuration, its use tells
            if (holding := executor.held()) and not _kept(_path(config, executor.name, "lock")):
                when = time.strftime("%Y-%m-%d %H:%M", time.localtime(holding.taken))
                yield (
                    f"{executor.name} still holds {holding.what}, taken on {when}, which nobody looked after: it is"
                    f" given back when it is not used; at once by `offload targets release {executor.name}`"
                )
    for record in (config.state_dir / "colab").glob("*/runtime.json"):
        if (name := record.parent.name) not in among:
            yield (
                f"{name}, which is no target any more, may still hold a machine: `offload targets add {name} colab://`,"
                f" then `offload targets release {name}`"
            )


def _renting(among: Mapping[str, Target]) -> Iterator[Rented]:
    return (rented for target in among.values() if (rented := target.rented()))


def _path(config: settings.Settings, name: str, what: str) -> Path:
    return config.state_dir / "keepers" / f"{name}.{what}"


def _take(path: Path, how: int = fcntl.LOCK_EX) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _kept(path: Path) -> bool:
    if not path.exists():
        return False
    lock = _take(path, fcntl.LOCK_SH)  # who looks keeps nobody else from looking
    if lock is not None:
        os.close(lock)
    return lock is None


class Keeper:
    """Keeps what one target holds. `clock` tells the time in seconds since the epoch, `ticks` those since some moment.

    Both are heard: the one also counts while this machine sleeps, the other cannot be set back.
    """

    def __init__(
        self,
        config: settings.Settings,
        journal: Journal,
        executor: Rented,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config, self._journal, self._executor = config, journal, executor
        self._clock, self._ticks, self._sleep = clock, ticks, sleep
        self._used = 0.0, clock(), ticks()

    def keep(self) -> Iterator[str]:
        """Keep it until it is given back, or gone. Tells what happens. Raises Refused when nothing can be done."""
        while (holding := self._executor.held()) or self._is_expected():
            if holding is None:
                self._sleep(TAKING_SECONDS)
                continue
            left = holding.idle
            try:
                left = self._left(holding)
                if left <= 0 and self._executor.give_back(unless=self._is_needed):
                    yield f"{holding.what} is given back"
                elif left > 0:
                    self._executor.keep_alive()
            except Gone as error:
                yield str(error)
            except (Unreachable, Refused, OffloadError) as error:
                if left <= 0 and isinstance(error, Refused):
                    raise
                yield f"{error}; trying again"
            if self._executor.held():
                soon = min(left, holding.idle)  # who may be idle for seconds only is looked at as often
                self._sleep(min(max(soon, AGAIN_SECONDS), ALIVE_SECONDS))
        self._journal.machine_gone(self._executor.name)

    def _is_expected(self) -> bool:
        """Whether a machine may be about to be taken: somebody drives a job that is to run on it."""
        return any(map(self._is_driven, self._journal.work_on(self._executor.name)))

    def _is_needed(self) -> bool:
        holding = self._executor.held()
        return holding is not None and self._left(holding) > 0

    def _left(self, holding: Holding) -> float:
        """Seconds for which it is needed still, as far as can be seen now."""
        work = self._journal.work_on(self._executor.name, holding.taken)
        driven = any(map(self._is_driven, work))
        if driven or holding.used != self._used[0]:
            self._used = holding.used, max(holding.used, self._clock() if driven else 0.0), self._ticks()
        unused = max(self._clock() - self._used[1], self._ticks() - self._used[2])
        return math.inf if driven else (holding.keep if work else holding.idle) - unused

    def _is_driven(self, job: str) -> bool:
        return lease.held(self._config.state_dir / "leases", job, self._config.lease_seconds)


def main() -> None:
    """Be a keeper, of what the target holds that the command line names, under the lock that it names."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    config, name = settings.load(), sys.argv[1]
    target = targets.load(config).get(name)
    executor = target.rented() if target else None
    if executor is None:
        return
    with Journal(config.journal) as journal:
        try:
            for line in Keeper(config, journal, executor).keep():
                _tell(line)
        except (ExecutorError, OffloadError) as error:
            _tell(str(error))


def _tell(line: str) -> None:
    with suppress(OSError):  # no room for a log is no reason to leave the machine
        print(time.strftime("%Y-%m-%d %H:%M:%S"), ascii(line)[1:-1], flush=True)
