"""Locks on files of ours: waited for, but not for ever, and freed by the kernel with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from executors.base import ExecutorError, Refused
from executors.colab import files

TICK = 0.05


def opened(path: Path, name: str, step: str) -> int:
    """Open the file of a lock. Raises Refused for the target `name`, of that step, when its folder cannot be used."""
    try:
        files.own(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Refused(f"{name}: {path.parent} cannot be used: {error.strerror}", step=step) from error


def lock_now(lock: int, how: int) -> bool:
    """Lock an open file in a mode of `fcntl.flock`, unless somebody else has; returns whether it is locked."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(lock: int, seconds: float, late: ExecutorError) -> Iterator[None]:
    """Hold an open lock alone, and close it. Raises `late` when others hold it for so many seconds."""
    try:
        wait(partial(lock_now, lock, fcntl.LOCK_EX), seconds, late)
        yield
    finally:
        os.close(lock)


def wait(done: Callable[[], bool], seconds: float, late: ExecutorError) -> None:
    """Wait until it is `done`. Raises `late` when that takes so many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise late
        time.sleep(TICK)
