"""Files to and from a server, however often the connection breaks: whole in the end, or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from broker.errors import InputError, IntegrityError, LimitError, UsageError
from broker.lease import lock_now
from broker.policy import Patience
from broker.publication import link_new
from broker.staging import file_sha256
from server import schemas, wishes
from server.parts import NO_ROOM
from server.wire import Again, ClientError, Wire, checked

CHUNK_BYTES = 2**20
RESUMABLE = (404, 408, 409)
"""An upload that is not known any more, was silent for too long, or is still believed to be sent by us."""


def upload(wire: Wire, path: Path) -> wishes.Upload:
    """Send a file, unless the server has it. Raises InputError for one that cannot be read, ClientError."""
    try:
        begin = wishes.Begin(size=path.stat().st_size, sha256=file_sha256(path))
        with path.open("rb") as file:
            furthest = 0

            def send(patience: Patience) -> None:
                nonlocal furthest
                there = _begun(wire, begin)
                patience.heard(news=there.offset > furthest)
                furthest = max(furthest, there.offset)
                if not there.known:
                    _patch(wire, file, there)

            wire.persist(send)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return wishes.Upload(blob=begin.sha256, name=_sendable(path.name))


def planned(path: Path) -> wishes.Planned:
    """What a plan needs to know of a file. Raises InputError for one that cannot be read."""
    try:
        return wishes.Planned(name=_sendable(path.name), size=path.stat().st_size, blob=file_sha256(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _begun(wire: Wire, begin: wishes.Begin) -> schemas.Blob:
    answer = checked(wire.http.post("/v1/blobs", json=begin.model_dump()))
    return schemas.Blob.model_validate_json(answer.content)


def _patch(wire: Wire, file: BinaryIO, there: schemas.Blob) -> None:
    headers = {
        "Upload-Offset": str(there.offset),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(there.size - there.offset),
    }
    try:
        checked(wire.http.patch(f"/v1/blobs/{there.upload}", headers=headers, content=_rest(file, there)))
    except ClientError as error:
        if error.status in RESUMABLE:
            raise Again(str(error)) from error
        raise


def _rest(file: BinaryIO, there: schemas.Blob) -> Iterator[bytes]:
    """What is to be sent: as much as was told, also of a file that has grown or shrunk."""
    file.seek(there.offset)
    left = there.size - there.offset
    while left > 0:
        chunk = file.read(min(left, CHUNK_BYTES)) or bytes(min(left, CHUNK_BYTES))
        left -= len(chunk)
        yield chunk


def _sendable(name: str) -> str:
    """A file's name as JSON can carry it, and as long as a name may be."""
    return name.encode("utf-8", "replace").decode()[:255]


def download(wire: Wire, address: str, output: schemas.Output, dest: Path, overwrite: bool) -> None:
    """Fetch an output. What came of it before is gone on with; it has its name when it is whole and right.

    Raises UsageError when `dest` is there already, cannot be written or is being fetched by another process, LimitError
    when its disk is full, IntegrityError, ClientError.
    """
    if dest.exists() and not overwrite:
        raise UsageError(f"{dest} exists", "name another place, or remove it")
    try:
        _download(wire, address, output, dest, overwrite)
    except OSError as error:
        kind = LimitError if error.errno in NO_ROOM else UsageError
        raise kind(f"{dest} cannot be written: {error.strerror}", "name another place") from error


def _download(wire: Wire, address: str, output: schemas.Output, dest: Path, overwrite: bool) -> None:
    draft = dest.with_name(f".{output.sha256[:16]}.part")
    with _mine(draft, dest) as file:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        wire.persist(lambda patience: _fetch(wire, address, output, file, digest, patience))
        if digest.hexdigest() != output.sha256:
            draft.unlink()
            raise IntegrityError(f"{output.file}: what came is not what was made", "download it again")
        os.fsync(file.fileno())
        _publish(draft, dest, overwrite)


def _mine(draft: Path, dest: Path) -> BinaryIO:
    file = draft.open("a+b")
    if not lock_now(file.fileno(), fcntl.LOCK_EX):
        file.close()
        raise UsageError(f"{dest} is being downloaded by another process")
    file.seek(0)
    return file


def _fetch(
    wire: Wire, address: str, output: schemas.Output, file: BinaryIO, digest: hashlib._Hash, patience: Patience
) -> None:
    """Fetch what is missing of an output."""
    there = file.seek(0, os.SEEK_END)
    if there >= output.size:
        return
    with wire.http.stream(
        "GET", address, headers={"Range": f"bytes={there}-", "Accept-Encoding": "identity"}
    ) as answer:
        checked(answer)
        if there and answer.status_code != 206:
            raise ClientError(f"the server does not send {output.file} from byte {there} on")
        for chunk in answer.iter_raw(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            patience.heard(news=True)
    file.flush()
    if file.tell() < output.size:
        raise Again(f"only {file.tell()} of {output.size} bytes came")


def _publish(draft: Path, dest: Path, overwrite: bool) -> None:
    if overwrite:
        draft.replace(dest)
        return
    try:
        link_new(draft, dest)
    except FileExistsError as error:
        raise UsageError(f"{dest} exists", "name another place, or remove it") from error
    draft.unlink(missing_ok=True)  # where there are no links, it was renamed
