"""Slots: how many jobs may run on a target at the same time. Who drives one there holds a slot of the target.

A slot is a lock on a file, which the kernel frees with the process that holds it, however that dies; and a sign of
life, for one that is only stopped. So none has to be given back by anybody else.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Self

from broker import lease
from broker.errors import ConfigError

MARK_BYTES = 100


class Slot:
    """A slot that is held, until it is freed. `lock` may be handed to a process that is started, to hold it then."""

    def __init__(self, target: str, job: str, lock: int) -> None:
        self.target = target
        self.lock = lock
        self._held = ExitStack()
        self._held.enter_context(lease.beating(partial(_beat, lock, job)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def free(self) -> None:
        """Let somebody else have it. Once is enough."""
        if self.lock >= 0:
            self._held.close()
            os.close(self.lock)
            self.lock = -1


class Slots:
    """The slots of all targets, as files in a folder. One whose holder gave no sign for `seconds` is free."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds

    def take(self, target: str, count: int, job: str, again: bool = False) -> Slot | None:
        """Take one of a target's `count` slots for a job; None when all are held.

        With `again`, those that the job itself holds do not count: they are of drivers that were overtaken.
        One process at a time: in a `Journal.turn`. Raises ConfigError when the folder cannot be used.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            held = sum(1 for holder in self.holders(target) if not (again and holder == job))
            lock = self._unused(target) if held < count else None
            if lock is None:
                return None
            _beat(lock, job)
        except OSError as error:
            what = f"{self._folder} cannot be used: {error.strerror}"
            raise ConfigError(what, "point OFFLOAD_STATE_DIR elsewhere") from error
        return Slot(target, job, lock)

    def holders(self, target: str) -> Iterator[str]:
        """The jobs that hold a slot of a target now."""
        for path in sorted(self._folder.glob(f"{target}.*")):
            with suppress(OSError):  # it is gone
                job, silent = _mark(path)
                if silent <= self._seconds and _locked(path):
                    yield job

    def _unused(self, target: str) -> int:
        # One whose holder is stopped stays its own: there may be more files than slots.
        number = 0
        while True:
            lock = os.open(self._folder / f"{target}.{number}", os.O_RDWR | os.O_CREAT, 0o600)
            if lease.lock_now(lock, fcntl.LOCK_EX):
                return lock
            os.close(lock)
            number += 1


def _locked(path: Path) -> bool:
    lock = os.open(path, os.O_RDONLY)
    try:
        return not lease.lock_now(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _beat(lock: int, job: str) -> None:
    os.pwrite(lock, f"{job} {time.monotonic():.3f}".ljust(MARK_BYTES).encode(), 0)


def _mark(path: Path) -> tuple[str, float]:
    job, _, beat = path.read_text().strip().rpartition(" ")
    return job, time.monotonic() - float(beat or "-inf")
