"""The folders of the server's jobs: one for each, with its inputs, the wish, and its results.

A folder that holds results is deleted with its job alone, when that is removed, here or on the command line. Whatever
else is in its way sets it aside.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from broker import followers
from broker.broker import Broker
from broker.errors import ConfigError, LimitError
from broker.job import Job
from broker.settings import Settings
from server.parts import NO_ROOM

NAME = re.compile(r"[0-9a-f]{32}")
LOCKS = ".locks"
LOCK_CHARS = 3
"""How much of a folder's name tells its lock: of so many files, none is ever deleted, and few wait for each other."""

DAY = 86400.0

log = logging.getLogger("offload.server")


def place(settings: Settings) -> Path:
    """Where the folders are."""
    return settings.state_dir / "server" / "jobs"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One at a time for each folder, in all processes. The kernel lets the next one in if we die."""
    locks = folder.parent / LOCKS
    with stored(locks):
        locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(locks / folder.name[:LOCK_CHARS], os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def stored(folder: Path) -> Iterator[None]:
    """Say in a sentence what keeps a folder from being used."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise LimitError(f"the disk that holds {folder} is full", "make room there") from error
        what = f"{folder} cannot be used: {error.strerror}"
        raise ConfigError(what, "point OFFLOAD_STATE_DIR of the server elsewhere") from error


@contextmanager
def whole(broker: Broker, folder: Path) -> Iterator[None]:
    """A folder for a job, made anew; nothing is left of it if that comes to nothing."""
    with stored(folder):
        _clear(folder)
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(mode=0o700)
    try:
        yield
    except BaseException:
        if broker.journal.in_folder(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _clear(folder: Path) -> None:
    """Make way for a job where none is known: for what a crash left, or a journal that was lost."""
    if holds_results(folder):
        aside = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
        folder.rename(aside)
        log.warning("%s holds results of a job that is not in the journal: it is kept as %s", folder, aside)
    shutil.rmtree(folder, ignore_errors=True)


def holds_results(folder: Path) -> bool:
    """Whether there are results in a job's folder, of which nobody else may have a copy."""
    return any(file.is_file() and file.suffix != ".part" for file in folder.glob("out/**/*"))


def lost(broker: Broker) -> list[Path]:
    """Folders with results whose job is in no journal: it was lost with one, or the folder was set aside."""
    jobs = place(broker.settings)
    found = set(jobs.iterdir()) if jobs.is_dir() else set()  # first: the job of a folder may be recorded just now
    return sorted(folder for folder in found - broker.journal.folders() if holds_results(folder))


def remove(broker: Broker, job: Job) -> bool:
    """Forget a job that is over; returns whether its results went with it, in the folder that the server has for it.

    Raises as `Broker.remove`.
    """
    folder = job.folder if _is_its_own(broker, job) else None
    with alone(folder) if folder else nullcontext():
        broker.remove(job)
        followers.forget(broker.settings, job.id)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)  # what resists is swept another day
    return folder is not None


def _is_its_own(broker: Broker, job: Job) -> bool:
    folder = job.folder
    if folder is None or folder.parent != place(broker.settings) or not NAME.fullmatch(folder.name):
        return False
    first = broker.journal.in_folder(folder)
    return first is not None and first.id == job.id


def sweep(broker: Broker) -> None:
    """Delete folders that have no job, hold no result and are a day old: what crashes left."""
    jobs = place(broker.settings)
    for folder in jobs.iterdir() if jobs.is_dir() else ():
        with suppress(FileNotFoundError):  # a plan's, which has just been made
            if folder.name != LOCKS and folder.stat().st_mtime < time.time() - DAY:
                _sweep(broker, folder)


def _sweep(broker: Broker, folder: Path) -> None:
    with alone(folder):
        if broker.journal.in_folder(folder) is None and not holds_results(folder):
            shutil.rmtree(folder, ignore_errors=True)
