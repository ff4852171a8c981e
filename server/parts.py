"""An upload as far as it has come: a file, and the hash of what is in it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
from io import FileIO
from pathlib import Path

from broker.errors import ConfigError, LimitError, OffloadError
from broker.job import FileId
from broker.lease import lock_now

PIECE_BYTES = 2**20
"""How much is held in memory, and hashed or written at once."""

SPARE_BYTES = 2**26
"""What uploads leave of a disk: the journal, which lies on the same one, must not find it full."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Part:
    """The file of an upload. Open it before anything is stored; every method but `offset` may take its time."""

    def __init__(self, path: Path, sha256: str, size: int) -> None:
        self.path, self.sha256, self.size = path, sha256, size
        self.is_taken = False
        self.hashed = 0
        self._hash = hashlib.sha256()
        self._file: FileIO | None = None
        self._left: FileId | None = None
        self._lock = threading.Lock()

    @property
    def offset(self) -> int | None:
        """Where it goes on, None when there is no such file. Never at its end: with its last byte it is a blob.

        Raises OSError.
        """
        try:
            return self._goes_on(self.path.stat().st_size)
        except FileNotFoundError:
            return None

    def _goes_on(self, there: int) -> int:
        return min(there, max(self.size - 1, 0))

    @property
    def is_whole(self) -> bool:
        """Whether all of it is stored."""
        return self.hashed == self.size

    def open(self) -> bool:
        """Go on where it stopped, unless another process is at it; returns whether we are."""
        with self._lock:
            self.path.chmod(0o600)  # whoever died after `settle` has left it closed
            self._file = FileIO(self.path, "r+")
            if not (lock_now(self._file.fileno(), fcntl.LOCK_EX) and self.is_named):
                self._file.close()
                self._file = None
                return False
            changed = _version(self._file) != self._left
            there = self._file.truncate(self._goes_on(os.fstat(self._file.fileno()).st_size))
            if changed or self.hashed > there:
                self.hashed, self._hash = 0, hashlib.sha256()
            self._file.seek(self.hashed)
            return True

    @property
    def is_named(self) -> bool:
        """Whether what is open is still what has the name: another process may have dropped it."""
        assert self._file
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def catch_up(self) -> bool:
        """Hash another piece of what was there when it was opened; False when there is no more."""
        with self._lock:
            assert self._file
            piece = self._file.read(PIECE_BYTES)
            self._count(piece)
            return bool(piece)

    def store(self, piece: bytes | bytearray) -> None:
        """Add what has come. On an error, what could be stored of it is counted."""
        with self._lock:
            assert self._file
            left = memoryview(piece)
            while left:
                check_room(self.path.parent, len(left))
                stored = self._file.write(left)
                self._count(left[:stored])
                left = left[stored:]

    def _count(self, piece: bytes | memoryview) -> None:
        self._hash.update(piece)
        self.hashed += len(piece)

    def settle(self) -> bool:
        """Bring it to the disk, for nobody to write again; returns whether its content is what was told."""
        with self._lock:
            assert self._file
            os.fsync(self._file.fileno())
            os.fchmod(self._file.fileno(), 0o400)
            return self._hash.hexdigest() == self.sha256

    def close(self) -> None:
        """Leave it, to be opened again."""
        with self._lock:
            if self._file:
                self._left = _version(self._file)
                fcntl.flock(self._file.fileno(), fcntl.LOCK_UN)  # a process that starts just now has it, too
                self._file.close()
                self._file = None


def _version(file: FileIO) -> FileId:
    """What tells whether others wrote to a file."""
    found = os.fstat(file.fileno())
    return FileId(found.st_size, found.st_mtime_ns, found.st_ino)


def check_room(folder: Path, size: int) -> None:
    """Raise OSError when the disk that holds `folder` has no room for `size` bytes, and some to spare."""
    if size + SPARE_BYTES > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def explained(folder: Path, error: OSError) -> OffloadError:
    """Why uploads cannot be kept in `folder`, in a sentence."""
    if error.errno in NO_ROOM:
        return LimitError(
            f"the disk that holds {folder} is full: what had come is kept", "make room there, then send the rest"
        )
    return ConfigError(
        f"uploads cannot be kept in {folder}: {error.strerror}", "point OFFLOAD_STATE_DIR of the server elsewhere"
    )
