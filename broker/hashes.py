"""Hashes of files here, remembered by what changes with a file's content: size, times and inode."""

from __future__ import annotations

import os
from dataclasses import astuple
from pathlib import Path

from broker.database import Database
from broker.job import FileId
from broker.staging import file_sha256


class Hashes:
    """The hashes that the journal remembers."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def identify(self, path: Path) -> tuple[FileId, str]:
        """A file as it is now, and its sha256. Raises OSError."""
        file_id = FileId.of(path)
        known = self.known(path, file_id)
        if known is None:
            known = file_sha256(path)
            self.remember(path, file_id, known)
        return file_id, known

    def known(self, path: Path, file_id: FileId) -> str | None:
        """The sha256 of a file that has not changed since it was hashed."""
        row = self._db.row(
            "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ? AND ctime_ns = ?",
            (os.fsencode(path), *astuple(file_id)),
        )
        return str(row["sha256"]) if row else None

    def remember(self, path: Path, file_id: FileId, sha256: str) -> None:
        """Remember a file's sha256."""
        with self._db.write_lightly():  # it can be made again
            self._db.execute(
                "INSERT OR REPLACE INTO hashes (path, size, mtime_ns, inode, ctime_ns, sha256)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (os.fsencode(path), *astuple(file_id), sha256),
            )
