"""Uploads that go on where they stopped, and the files they become, each known by its sha256.

An upload is named by what it is to become, sha256 and size: whoever has the file finds what has come of it, after a
restart of either side. It lies apart until its last byte has come and its hash is right, and only then gets its name
among the blobs: what is there is whole.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from broker.errors import IntegrityError
from broker.staging import sync
from server import parts, schemas
from server.parts import PIECE_BYTES, Part, explained
from server.problems import NotFound, Refusal
from server.senders import heard

DAY = 86400.0

NAME = re.compile(r"([0-9a-f]{64})-(0|[1-9][0-9]{0,15})")


class Blobs:
    """Uploads and blobs in `folder`, each of `most` bytes at most. An upload untouched for `keep_days` is swept.

    Whatever is asked raises LimitError when the disk is full, ConfigError when it cannot be used.
    """

    def __init__(self, folder: Path, most: int, keep_days: float = 7.0) -> None:
        self._folder, self._blobs, self._uploads = folder, folder / "blobs", folder / "uploads"
        self._most, self._keep_seconds = most, max(keep_days, 1.0) * DAY
        self._parts: dict[str, Part] = {}
        self._lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        """Where a blob is: a file that is never written again, to be linked. Raises NotFound."""
        path = self._blobs / sha256
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or not self._touched(path):
            raise NotFound(f"no file {sha256[:64]!r} was uploaded", "upload it with /v1/blobs")
        return path

    def begin(self, size: int, sha256: str) -> schemas.Blob:
        """Begin an upload, or find it. Raises Refusal for one that is too large, IntegrityError as `append`."""
        if size > self._most:
            what = f"{size} bytes are more than this server takes, {self._most}"
            raise Refusal(413, what, "set OFFLOAD_SERVE_BYTES for the server")
        upload = f"{sha256}-{size}"
        with suppress(NotFound):
            return self.state(upload)
        self._create(upload, size)
        if not size:  # nobody need send that
            with self._sending(upload, 0) as part:
                _open(part, upload, 0)
                self._keep(upload, part)
        return self.state(upload)

    def state(self, upload: str) -> schemas.Blob:
        """An upload, as far as it has come. Raises NotFound."""
        sha256, size = _parsed(upload)
        offset = self._offset(self._part(upload))  # first: it may become a blob just now
        known = offset is None
        if known and not self._touched(self._blobs / sha256, size):
            raise _unknown(upload)
        return schemas.Blob(
            upload=upload, sha256=sha256, size=size, offset=size if offset is None else offset, known=known
        )

    async def append(self, upload: str, offset: int, chunks: AsyncIterator[bytes]) -> schemas.Blob:
        """Take what comes of an upload from `offset` on; with its last byte it is a blob.

        Whatever ends it, what had come counts. Raises NotFound; Refusal for another offset than where it goes on, for
        a second sender at once, for one that is silent and for what is too much; IntegrityError when the content is
        not what was told, and then nothing is kept.
        """
        told = self.state(upload)
        if told.known:
            await _nothing_more(told, offset, chunks)
            return told
        with self._sending(upload, offset) as part:
            await asyncio.to_thread(_open, part, upload, offset)
            await _receive(part, chunks)
            if part.is_whole:
                await asyncio.to_thread(self._keep, upload, part)
        return self.state(upload)

    def draft(self) -> Path:
        """Where a file may be written that is to be a blob (`take`). What is left there is swept one day."""
        with self._explained():
            self._uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._uploads / f"draft-{secrets.token_hex(16)}"

    def take(self, draft: Path, sha256: str) -> None:
        """Make a blob of a draft with that hash, which is whole, on the disk, and written by nobody any more."""
        if not self._touched(self._blobs / sha256):
            with self._explained(), self._lock:
                self._blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
                draft.replace(self._blobs / sha256)
            sync(self._blobs)

    def drop(self, upload: str) -> None:
        """Forget an upload, also while it is sent, or the blob that it became. Raises NotFound."""
        told = self.state(upload)
        with self._explained(), self._lock:
            self._parts.pop(upload, None)
            (self._uploads / upload).unlink(missing_ok=True)
            if told.known:
                (self._blobs / told.sha256).unlink(missing_ok=True)  # jobs have links of their own

    def sweep(self) -> None:
        """Delete uploads that nobody went on with, and blobs that no job has and nobody asked for, for a day."""
        with self._explained():
            for file in _files(self._uploads):
                self._sweep_upload(file)
            for file in _files(self._blobs):
                self._sweep_blob(file)

    def _sweep_upload(self, file: Path) -> None:
        with self._lock, suppress(FileNotFoundError):
            part = self._parts.get(file.name)
            if file.stat().st_mtime < time.time() - self._keep_seconds and not (part and part.is_taken):
                self._parts.pop(file.name, None)
                file.unlink()

    def _sweep_blob(self, file: Path) -> None:
        with self._lock, suppress(FileNotFoundError):
            found = file.stat()
            # This time changes with every link more or less, too: it is a day since the last job went.
            if found.st_nlink == 1 and found.st_ctime < time.time() - DAY:
                file.unlink()

    def _touched(self, blob: Path, size: int | None = None) -> bool:
        """Whether a blob is there, and of that size. If so, it stays for another day."""
        with self._explained(), self._lock, suppress(FileNotFoundError):
            if size in (None, blob.stat().st_size):
                blob.chmod(0o400)  # changes that time, and not the one that jobs know their inputs by
                return True
        return False

    def _create(self, upload: str, size: int) -> None:
        with self._explained():
            self._uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
            if size > (room := shutil.disk_usage(self._uploads).free - parts.SPARE_BYTES):
                what = f"{size} bytes do not fit on the disk that holds {self._folder}: {max(0, room)} may be taken"
                raise Refusal(413, what, "make room there")
            os.close(os.open(self._uploads / upload, os.O_WRONLY | os.O_CREAT, 0o600))

    @contextmanager
    def _sending(self, upload: str, offset: int) -> Iterator[Part]:
        """An upload for its one sender at a time."""
        part = self._taken(upload, offset)
        try:
            with self._explained():
                yield part
        finally:
            part.close()
            part.is_taken = False

    def _part(self, upload: str) -> Part:
        sha256, size = _parsed(upload)
        return self._parts.get(upload) or Part(self._uploads / upload, sha256, size)

    def _offset(self, part: Part) -> int | None:
        with self._explained():
            return part.offset

    def _taken(self, upload: str, offset: int) -> Part:
        with self._lock:
            part = self._part(upload)
            there = self._offset(part)
            if there is None:
                raise _unknown(upload)
            if part.is_taken:
                raise _sent_already(there)
            _check_offset(there, offset)
            part.is_taken, self._parts[upload] = True, part
            return part

    def _keep(self, upload: str, part: Part) -> None:
        """Make a whole upload a blob."""
        right = part.settle()
        with self._lock:
            if self._parts.get(upload) is not part or not part.is_named:  # dropped meanwhile: its name may be another's
                raise _unknown(upload)
            del self._parts[upload]
            if right:
                self._blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.path.replace(self._blobs / part.sha256)
            else:
                part.path.unlink()
        if not right:
            what = f"what came is not the {part.size} bytes of sha256 {part.sha256}: nothing of it is kept"
            raise IntegrityError(what, "send it again")
        sync(self._blobs)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explained(self._folder, error) from error


def _open(part: Part, upload: str, offset: int) -> None:
    """Open an upload to go on at `offset`: another server may be at it, or have been since we looked."""
    try:
        ours = part.open()
    except FileNotFoundError as error:
        raise _unknown(upload) from error
    if (there := part.offset) is None:
        raise _unknown(upload)
    if not ours:
        raise _sent_already(there)
    _check_offset(there, offset)


async def _receive(part: Part, chunks: AsyncIterator[bytes]) -> None:
    """Store what comes, a piece at a time; also what had come when that ends in an error."""
    while await asyncio.to_thread(part.catch_up):
        continue
    held = bytearray()
    try:
        async for chunk in _heard(chunks):
            if part.hashed + len(held) + len(chunk) > part.size:
                raise Refusal(413, f"more came than the {part.size} bytes that were told", "go on where HEAD tells")
            held += chunk
            if len(held) >= PIECE_BYTES:
                piece, held = held, bytearray()
                await asyncio.to_thread(part.store, piece)
    finally:
        await asyncio.to_thread(part.store, held)


def _heard(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    return heard(chunks, "go on where HEAD tells", ": what had come is kept")


async def _nothing_more(told: schemas.Blob, offset: int, chunks: AsyncIterator[bytes]) -> None:
    if offset != told.size:
        raise _conflict(told.size, "this upload is whole")
    async for chunk in _heard(chunks):
        if chunk:
            raise Refusal(413, f"more came than the {told.size} bytes that were told")


def _parsed(upload: str) -> tuple[str, int]:
    found = NAME.fullmatch(upload)
    if not found:
        raise _unknown(upload)
    return found[1], int(found[2])


def _unknown(upload: str) -> NotFound:
    return NotFound(f"no upload {upload[:100]!r}", "begin it with POST /v1/blobs")


def _check_offset(there: int, offset: int) -> None:
    if offset != there:
        raise _conflict(there, f"this upload goes on at byte {there}, not at {offset}")


def _sent_already(there: int) -> Refusal:
    return _conflict(there, "this upload is being sent already")


def _conflict(there: int, what: str) -> Refusal:
    return Refusal(409, what, "ask where it goes on with HEAD", {"Upload-Offset": str(there)})


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
