"""A job's lease: at most one process drives a job. The kernel ends it with the process, however that dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from broker.errors import NoTarget

TRIES = 5


class Held(NoTarget):
    """Another process drives the job."""


@contextmanager
def hold(folder: Path, job: str) -> Iterator[None]:
    """Hold the job's lease. Raises Held when another process drives it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{job}.lease"
    with _locked(path, job) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def held(folder: Path, job: str) -> bool:
    """Whether a living process drives the job."""
    try:
        with (folder / f"{job}.lease").open("r") as file:
            return not _lock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _locked(path: Path, job: str) -> IO[str]:
    for _ in range(TRIES):
        file = path.open("a+")
        if _lock(file, fcntl.LOCK_EX) and _is(path, file):
            return file
        file.close()
        time.sleep(0.02)  # somebody only looked, or the last holder was just tidying up
    raise Held(f"job {job} is being driven by process {_owner(path)}", f"offload jobs show {job}")


def _owner(path: Path) -> str:
    with suppress(OSError):  # gone this moment
        return path.read_text() or "unknown"
    return "unknown"


def _lock(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, file: IO[str]) -> bool:
    # The lock on a file that its last holder has removed meanwhile would keep nobody out.
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False
