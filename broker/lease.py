"""A job's lease: at most one process drives a job.

The kernel ends it with the process, however that dies: it is a lock on a file. A process that is only stopped keeps
its lock, so the holder also writes a heartbeat, and one whose heart has not beaten for a lease's length is replaced.
It may wake up later: what it then writes is refused, by the term that each lease has in the journal.
"""

from __future__ import annotations

import fcntl
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from broker.errors import ConfigError, NoTarget
from broker.journal import Journal
from broker.ledger import Ledger

TRIES = 5
BEAT_SECONDS = 0.5


class Held(NoTarget):
    """Another process drives the job."""


@contextmanager
def hold(journal: Journal, folder: Path, job: str, seconds: float, handed: int | None = None) -> Iterator[Ledger]:
    """Hold the job's lease; the ledger is for writing under it. Raises Held when another process drives the job.

    One that has given no sign for `seconds` is replaced. `handed` is a lease that was taken for us (see `take`).
    Raises ConfigError when `folder` cannot hold a lease.
    """
    with ExitStack() as stack:
        with journal.turn():
            lock = stack.enter_context(_locked(folder / f"{job}.lease", job, seconds, handed))
            ledger = journal.ledger(job)
        stack.enter_context(beating(partial(_beat, lock)))
        yield ledger


def take(journal: Journal, folder: Path, job: str, seconds: float) -> int:
    """Take the job's lease for a process that is about to start: the descriptor to hand it. Raises Held as `hold`."""
    with journal.turn():
        return _taken(folder / f"{job}.lease", job, seconds)


def held(folder: Path, job: str, seconds: float = math.inf) -> bool:
    """Whether a living process drives the job, and has given a sign within `seconds`."""
    try:
        lock = os.open(folder / f"{job}.lease", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not lock_now(lock, fcntl.LOCK_SH) and _holder(lock)[1] <= seconds
    finally:
        os.close(lock)


def holders(folder: Path, seconds: float = math.inf) -> set[str]:
    """The jobs that living processes drive, each having given a sign within `seconds`."""
    return {path.stem for path in folder.glob("*.lease") if held(folder, path.stem, seconds)}


@contextmanager
def _locked(path: Path, job: str, seconds: float, handed: int | None) -> Iterator[int]:
    lock = _taken(path, job, seconds) if handed is None else _received(path, job, handed)
    try:
        yield lock
    finally:
        with suppress(OSError):  # the lock goes with us; a file that nobody has locked keeps nobody out
            if _is(path, lock):
                path.unlink(missing_ok=True)
        os.close(lock)


def _taken(path: Path, job: str, seconds: float) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _tried(path, job, seconds)
    except OSError as error:
        raise ConfigError(f"{path} cannot be used: {error.strerror}", "point OFFLOAD_STATE_DIR elsewhere") from error


def _tried(path: Path, job: str, seconds: float) -> int:
    for _ in range(TRIES):
        with ExitStack() as closing:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            closing.callback(os.close, lock)
            if lock_now(lock, fcntl.LOCK_EX) and _is(path, lock):
                os.ftruncate(lock, 0)
                _beat(lock)
                closing.pop_all()
                return lock
            owner, silent = _holder(lock)
        if silent > seconds:
            path.unlink(missing_ok=True)  # its lock is on a file that has no name any more
        time.sleep(0.02)  # or somebody only looked, or the last holder was just tidying up
    raise Held(f"job {job} is being driven by process {owner}", f"offload jobs show {job}")


def _received(path: Path, job: str, lock: int) -> int:
    if not _is(path, lock):
        os.close(lock)
        raise Held(f"job {job} was given to another process while this one started", f"offload jobs show {job}")
    os.set_inheritable(lock, False)
    _beat(lock)
    return lock


def lock_now(lock: int, mode: int) -> bool:
    """Lock an open file in a mode of `fcntl.flock`, unless somebody else has; returns whether it is locked."""
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, lock: int) -> bool:
    # The lock on a file that has lost its name meanwhile would keep nobody out.
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(lock))
    return False


@contextmanager
def every(seconds: float, do: Callable[[], object]) -> Iterator[None]:
    """Call `do` every so many seconds, in a thread of its own, as long as the context lasts."""
    enough = threading.Event()

    def run() -> None:
        while not enough.wait(seconds):
            do()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@contextmanager
def beating(beat: Callable[[], object]) -> Iterator[None]:
    """Give signs of life as long as the context lasts. One that cannot be written is made up for by the next."""

    def go_on() -> None:
        with suppress(OSError):
            beat()

    with every(BEAT_SECONDS, go_on):
        yield


def _beat(lock: int) -> None:
    # The monotonic clock: one for all processes, it neither jumps nor counts the time that the machine was suspended.
    os.pwrite(lock, f"{os.getpid():<20d} {time.monotonic():020.3f}".encode(), 0)


def _holder(lock: int) -> tuple[str, float]:
    """Who holds a lease, and for how many seconds it has given no sign."""
    owner, _, beat = os.pread(lock, 100, 0).decode().partition(" ")
    return owner or "unknown", time.monotonic() - float(beat) if beat.strip() else 0.0
