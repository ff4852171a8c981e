"""Taking what is fetched into our own store: whole or not at all, and never more than there is room for."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from broker.errors import ConfigError, LimitError, MissingHere, UsageError
from broker.models.said import Tell, amount, reason, silent
from broker.models.store import folder
from broker.settings import Settings

CHUNK_BYTES = 1024 * 1024
ANSWER_SECONDS = 30.0
TELL_SECONDS = 5.0
STALE_SECONDS = 60.0
ROOM = "make room there, or set OFFLOAD_CACHE_DIR to where there is some"


def download(settings: Settings, url: str, name: str, tell: Tell = silent) -> tuple[str, int]:
    """Fetch a file into our store; returns its sha256 and size.

    Raises UsageError where there is none, MissingHere when it cannot be had for now, LimitError for a disk too small.
    """
    with _asked(url) as answer:
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdigit() else None
        pieces = iter(lambda: _piece(answer, url), b"")
        return take(settings, _whole(metered(pieces, name, size, tell), url, size), size)


@contextmanager
def _asked(url: str) -> Iterator[Any]:
    try:
        answer = urllib.request.urlopen(url, timeout=ANSWER_SECONDS)  # noqa: S310  (http or https: `find`)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            raise UsageError(f"there is nothing at {url}", "offload models ls") from error
        raise _unfetched(url, error) from error
    except (OSError, HTTPException) as error:
        raise _unfetched(url, error) from error
    with answer:
        yield answer


def _piece(answer: Any, url: str) -> bytes:
    try:
        return bytes(answer.read1(CHUNK_BYTES))
    except (OSError, HTTPException) as error:
        raise _unfetched(url, error) from error


def _whole(pieces: Iterable[bytes], url: str, size: int | None) -> Iterator[bytes]:
    """`pieces`, which must come to `size`: what breaks off looks like an end."""
    sum_ = 0
    for piece in pieces:
        sum_ += len(piece)
        yield piece
    if size not in (None, sum_):
        raise _unfetched(url, ConnectionError(f"it broke off at byte {sum_} of {size}"))


def _unfetched(url: str, error: Exception) -> MissingHere:
    return MissingHere(f"{url} cannot be fetched: {reason(error)}", f"offload models prefetch {url}")


def metered(pieces: Iterable[bytes], name: str, size: int | None, tell: Tell) -> Iterator[bytes]:
    """`pieces`; every few seconds, how much has come of `name` is told."""
    told, sum_ = time.monotonic(), 0
    for piece in pieces:
        yield piece
        sum_ += len(piece)
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            tell(f"fetching {name} to learn what it is: {amount(sum_)} of {amount(size) if size else 'who knows'}")


def check_room(settings: Settings, size: int) -> None:
    """Raise LimitError when there is no room for as many bytes in our store."""
    home = folder(settings)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(home).free
    if size > free:
        raise LimitError(f"{amount(size)} are to be fetched, and {amount(free)} are free at {home}", ROOM)


def take(settings: Settings, pieces: Iterable[bytes], size: int | None = None) -> tuple[str, int]:
    """Take a content into our store, of `size` bytes where that is known; returns its sha256 and size.

    `pieces` must raise OSError of nothing: it is taken for that of our disk. Raises LimitError when that is full,
    ConfigError when it cannot be written.
    """
    home = folder(settings)
    try:
        check_room(settings, size or 0)
        _sweep(home)
        return _written(home, pieces)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LimitError(f"the disk is full at {home}", ROOM) from error
        raise ConfigError(f"{home} cannot be written: {error.strerror}", f"ls -ld {home}") from error


def _written(home: Path, pieces: Iterable[bytes]) -> tuple[str, int]:
    draft = home / f".{secrets.token_hex(8)}.tmp"
    digest = hashlib.sha256()
    try:
        with draft.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        draft.chmod(0o400)
        draft.replace(home / digest.hexdigest())
    finally:
        draft.unlink(missing_ok=True)
    return digest.hexdigest(), size


def _sweep(home: Path) -> None:
    """Delete drafts of processes that were killed: who lives holds the lock of its own."""
    for draft in home.glob(".*.tmp"):
        with suppress(FileNotFoundError, BlockingIOError), draft.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - draft.stat().st_mtime > STALE_SECONDS:  # one just made may not be locked yet
                draft.unlink()
