"""A job's lease: at most one process drives a job. The kernel ends it with the process, however that dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.errors import NoTarget


@contextmanager
def hold(folder: Path, job: str) -> Iterator[None]:
    """Hold the job's lease. Raises NoTarget when another process drives it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{job}.lease"
    with path.open("a+") as file:
        if not _lock(file.fileno()):
            raise NoTarget(f"job {job} is being driven by process {_owner(path)}", f"offload jobs show {job}")
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
        with (folder / f"{job}.lease").open("a+") as file:
            return not _lock(file.fileno())
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(path: Path) -> str:
    return path.read_text().strip() or "unknown"
