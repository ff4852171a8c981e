"""Seams of a process: every operation on files, processes and the network that could fail. The Nth one does.

Standard library only: targets' processes load it too.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

FILES = (
    (os, "open", "open"),
    (os, "write", "write"),
    (os, "pwrite", "write"),
    (os, "sendfile", "write"),
    (os, "fsync", "fsync"),
    (os, "link", "link"),
    (os, "symlink", "link"),
    (os, "rename", "replace"),
    (os, "replace", "replace"),
    (os, "unlink", "unlink"),
    (os, "mkdir", "mkdir"),
    (os, "rmdir", "unlink"),
    (os, "ftruncate", "write"),
    (os, "utime", "write"),
    (os, "chmod", "write"),
    (subprocess, "Popen", "spawn"),
)
NETWORK = ((socket.socket, "connect", "connect"), (socket.socket, "send", "send"), (socket.socket, "recv", "receive"))
SQL_ERRORS = {errno.ENOSPC: ("database or disk is full", sqlite3.SQLITE_FULL), errno.EIO: ("disk I/O error", 10)}


class Seams:
    """Counts the operations of whoever is inside; `met` is what the failing one was, None when it never came.

    Each is asked of by name (`open`, `write`, ...) and what it was on. The one numbered `nth` fails with `number`.
    """

    def __init__(self, nth: int, number: int, only: Callable[[str, str], bool] | None = None) -> None:
        self.count = 0
        self.met: tuple[str, str] | None = None
        self._nth, self._number, self._only = nth, number, only
        self._lock = threading.Lock()
        self._away = threading.local()
        self._undo: list[Callable[[], None]] = []

    def strike(self, what: str, on: object) -> None:
        """An operation is about to be done: raise, if its turn has come."""
        if getattr(self._away, "is", False) or (self._only and not self._only(what, str(on))):
            return
        with self._lock:
            self.count += 1
            due = self.count == self._nth
        if due:
            self.met = what, str(on)
            raise self._error(what, on)

    def _error(self, what: str, on: object) -> Exception:
        if what == "sql":
            message, code = SQL_ERRORS[self._number]
            error = sqlite3.OperationalError(message)
            error.sqlite_errorcode = code  # type: ignore[misc]
            return error
        if self._number == errno.ETIMEDOUT:
            return TimeoutError("timed out")
        return OSError(self._number, os.strerror(self._number), str(on))

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """What this thread does now is another process's doing."""
        setattr(self._away, "is", True)
        try:
            yield
        finally:
            setattr(self._away, "is", False)

    def __enter__(self) -> Seams:
        for owner, name, what in FILES + NETWORK:
            self._patch(owner, name, self._wrapped(getattr(owner, name), what, owner is socket.socket))
        opened = self._opened(io.open)
        self._patch(io, "open", opened)
        self._patch(builtins, "open", opened)
        self._patch(shutil, "_USE_CP_SENDFILE", False)  # it copies without a word to anybody
        self._patch(sqlite3, "connect", self._connected(sqlite3.connect))
        return self

    def __exit__(self, *_: object) -> None:
        for undo in reversed(self._undo):
            undo()

    def _patch(self, owner: Any, name: str, value: object) -> None:
        before = getattr(owner, name)
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, value)

    def _wrapped(self, step: Any, what: str, method: bool) -> Any:
        if isinstance(step, type):  # Popen: others make classes of their own of it, or ask for its kind
            return type(step.__name__, (step,), {"__init__": self._wrapped(step.__init__, what, True)})

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.strike(what, args[1] if method and len(args) > 1 else args[0] if args else "")
            return step(*args, **kwargs)

        return stepped

    def _opened(self, step: Any) -> Any:
        def stepped(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            self.strike("open", file)
            found = step(file, mode, *args, **kwargs)
            return Written(found, self, str(file)) if set(mode) & set("wxa+") else found

        return stepped

    def _connected(self, connect: Any) -> Any:
        seams = self

        class Connection(sqlite3.Connection):
            def execute(self, statement: str, *args: Any) -> Any:
                seams.strike("sql", statement)
                return super().execute(statement, *args)

        return lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs)


class Written:
    """A file open for writing, each write of which is a seam."""

    def __init__(self, file: Any, seams: Seams, name: str) -> None:
        self._file, self._seams, self._name = file, seams, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> Any:
        """Write, or fail half-way."""
        try:
            self._seams.strike("write", self._name)
        except OSError:
            self._file.write(data[: len(data) // 2])
            raise
        return self._file.write(data)

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)
