"""Hashes of files here, remembered by what changes with a file's content: size, time and inode."""

from __future__ import annotations

from pathlib import Path

from broker.job import FileId
from broker.journal import Journal
from broker.staging import file_sha256


def identify(journal: Journal, path: Path) -> tuple[FileId, str]:
    """A file as it is now, and its sha256. Raises OSError."""
    file_id = FileId.of(path)
    known = journal.known_hash(path, file_id)
    if known is None:
        known = file_sha256(path)
        journal.remember_hash(path, file_id, known)
    return file_id, known
