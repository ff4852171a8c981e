"""Which servers of ours run on this machine: each holds a lock on a file that has its port for a name.

The kernel frees it with the server, however that ends. So nobody needs to be asked, and the token is shown to no
stranger who sits at a port that was ours.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.lease import lock_now
from broker.settings import Settings
from server.access import folder

HOST = "127.0.0.1"
PORT = 8765


def address(port: int) -> str:
    """Where a server is reached."""
    return f"http://{HOST}:{port}"


def link(port: int, code: str) -> str:
    """The address to log in by. What is behind the # never leaves the browser."""
    return f"{address(port)}/#code={code}"


@contextmanager
def known(settings: Settings, port: int) -> Iterator[None]:
    """Be known as the server at a port that is bound already, while this lasts."""
    place = _place(settings)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(place / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who looks holds it for a moment
        yield
    finally:
        os.close(lock)


def runs(settings: Settings, port: int) -> bool:
    """Whether a server with our token is at a port of this machine."""
    try:
        lock = os.open(_place(settings) / str(port), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not lock_now(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def ports(settings: Settings) -> list[int]:
    """Where servers of ours run: the usual port first."""
    found = [int(file.name) for file in _place(settings).glob("*") if file.name.isdecimal()]
    return [port for port in sorted(found, key=lambda port: (port != PORT, port)) if runs(settings, port)]


def _place(settings: Settings) -> Path:
    return folder(settings) / "running"
