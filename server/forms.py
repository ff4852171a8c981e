"""A form with one file in it, taken as it comes: the file goes to the disk piece by piece, whatever its size."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.folders import stored
from server.parts import PIECE_BYTES, check_room
from server.problems import Refusal
from server.senders import heard

FIELD_BYTES = 64 * 1024
"""Of all that is not the file, names and values."""


@dataclass
class Sent:
    """A file that was sent: the name it had, and what came of it."""

    field: str
    name: str
    size: int = 0
    sha256: str = ""


@dataclass
class Form:
    """What was sent: fields by name, in order, and the one file, if there was one."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: Sent | None = None


async def read(content_type: str, chunks: AsyncIterator[bytes], draft: Path, most: int) -> Form:
    """Read a form; its file is stored as `draft`, and is on the disk afterwards. Whoever calls deletes it.

    Raises Refusal for what is no such form, for a second file, for a file of more than `most` bytes, and for a sender
    that is silent; LimitError when the disk is full.
    """
    reader = _Reader(_boundary(content_type), draft, most)
    try:
        async for piece in _pieces(chunks):
            await asyncio.to_thread(reader.feed, piece)
        return await asyncio.to_thread(reader.finish)
    finally:
        reader.close()


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(415, "this takes a form with a file: multipart/form-data, with a boundary")
    return boundary


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What comes, in pieces that are worth a step of their own."""
    held = bytearray()
    async for chunk in heard(chunks, "send it again"):
        held += chunk
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


class _Reader:
    """Takes a form apart. Every method may take its time."""

    def __init__(self, boundary: bytes, draft: Path, most: int) -> None:
        self._form, self._draft, self._most = Form(), draft, most
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._field, self._bytes = "", 0
        self._is_file = self._is_over = False
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        with _read():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        with _read(), stored(self._draft.parent):
            check_room(self._draft.parent, len(piece))
            self._parser.write(piece)

    def finish(self) -> Form:
        """The form, when all has come. The file is on the disk, for nobody to write again."""
        if not self._is_over:
            raise Refusal(400, "the form is cut short, or there is nothing in it")
        if self._file and self._form.file:
            with stored(self._draft.parent):
                os.fsync(self._file.fileno())
                os.fchmod(self._file.fileno(), 0o400)
            self._form.file.sha256 = self._hash.hexdigest()
        return self._form

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()

    # Called by the parser

    def _begin(self) -> None:
        self._headers, self._value = {}, bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise Refusal(400, "a part of the form has no name")
        self._field, self._is_file = _text(options[b"name"]), b"filename" in options
        self._count(len(options[b"name"]) + 1)
        if self._is_file:
            self._open(_text(options[b"filename"]))

    def _open(self, name: str) -> None:
        if self._form.file:
            raise Refusal(400, "there are several files: send one at a time")
        self._form.file = Sent(self._field, name)
        handle = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = FileIO(handle, "w")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._count(end - start)
            self._value += data[start:end]
            return
        assert self._file and self._form.file
        self._form.file.size += end - start
        if self._form.file.size > self._most:
            raise too_large(self._most)
        left = memoryview(data)[start:end]
        self._hash.update(left)
        while left:
            left = left[self._file.write(left) :]

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > FIELD_BYTES:
            raise Refusal(413, f"the fields have more than {FIELD_BYTES} bytes, without the file")

    def _on_part_end(self) -> None:
        if not self._is_file:
            self._form.fields.setdefault(self._field, []).append(_text(self._value))

    def _on_end(self) -> None:
        self._is_over = True


def too_large(most: int) -> Refusal:
    """What to say to more than `most` bytes."""
    return Refusal(413, f"the file has more than the {most} bytes that this server takes", "set OFFLOAD_SERVE_BYTES")


def _text(raw: bytes | bytearray) -> str:
    """Names and values are UTF-8; what is not is shown as such."""
    return raw.decode("utf-8", "replace")


@contextmanager
def _read() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise Refusal(400, f"the form cannot be read: {error}") from error
