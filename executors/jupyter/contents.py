"""Files of a Jupyter server: up by the contents API, down by `/files` where it knows ranges.

A chunk is appended to what is there, and to a new file when nothing is. They are numbered from 2 on: Jupyter writes
chunk 1 as it writes a whole file, waiting for the disk in its only thread, and does not say why it could not.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx

from executors.base import PART_BYTES, NoSuchFile, Span, TransferFailed, read_part
from executors.jupyter.server import Answered, Server

SEND_BYTES = 192 * 1024
"""How much of a local file is in memory at once; a multiple of 3, so that its base64 can be joined."""

LEAST_PIECE = 64 * 1024 - 64 * 1024 % 3
"""No proxy takes less than this in a request."""


class Contents:
    """The files under a server's root. A file that is written is not there whole before `upload` returns."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.chunks = False
        """Whether the server appends chunks. A proxy that takes only small requests can then be satisfied."""
        self._piece = PART_BYTES

    def make_folder(self, path: str) -> None:
        """Make a folder where there is none. Raises Answered."""
        try:
            self._server.json("PUT", f"api/contents/{path}", {"type": "directory"})
        except Answered as error:
            if error.status != 500:
                raise
            # Another session may have made it between Jupyter's look and its own try: now it is there, which is fine.
            self._server.json("PUT", f"api/contents/{path}", {"type": "directory"})

    def upload(self, source: Path, span: Span, path: str) -> None:
        """Write `span` of a local file to a new file. Raises TransferFailed or NoSpace; a part of it may then be there.

        A chunk that is sent twice is appended twice, so after a failure it takes another name.
        """
        while True:
            piece = self._piece
            try:
                self.send(source, list(_pieces(span, piece)), path, self.chunks)
                return
            except Answered as error:
                if error.status != 413 or not self.chunks or piece <= LEAST_PIECE:
                    raise TransferFailed(f"{self._server.name}: a part was not taken: {error}") from error
                self._piece = max(LEAST_PIECE, piece // 6 * 3)  # another thread may have found it too: no harm

    def send(self, source: Path, pieces: list[Span], path: str, chunks: bool) -> None:
        """Write these pieces of a local file, each in a request, as one new file. Raises as `Server.ask` does."""
        numbers = [*range(2, len(pieces) + 1), -1] if chunks else [None] * len(pieces)
        for number, piece in zip(numbers, pieces, strict=True):
            self._put(source, piece, path, number)

    def _put(self, source: Path, piece: Span, path: str, number: int | None) -> None:
        model: dict[str, Any] = {"type": "file", "format": "base64"} | ({"chunk": number} if number else {})
        head = json.dumps(model)[:-1].encode() + b', "content": "'
        length = len(head) + (piece.length + 2) // 3 * 4 + 2

        def body() -> Iterator[bytes]:
            yield head
            for each in _pieces(piece, SEND_BYTES):
                yield binascii.b2a_base64(read_part(source, each), newline=False)
            yield b'"}'

        headers = {"Content-Length": str(length), "Content-Type": "application/json"}
        with self._server.ask("PUT", f"api/contents/{path}", headers, body) as response:
            response.read()

    def read(self, folder: str, path: str, span: Span) -> bytes:
        """Read a range of the file `path` in `folder` by `/files`. Raises NoSuchFile, or as `Server.ask` does."""
        wanted = {"Range": f"bytes={span.offset}-{span.offset + max(span.length, 1) - 1}"}
        try:
            with self._server.ask("GET", f"files/{folder}/{path}", wanted) as response:
                self._check(response, path, span)
                return _received(response, span.length)
        except Answered as error:
            if error.status == 416:
                return b""  # it ends before this range
            raise self._failure(path, error) from error

    def _check(self, response: httpx.Response, path: str, span: Span) -> None:
        """Raise TransferFailed for an answer that is not the bytes asked for, a page for people above all."""
        start = f"bytes {span.offset}-"
        ranged = response.status_code == 206 and response.headers.get("content-range", "").startswith(start)
        whole = response.status_code == 200 and span.offset == 0
        page = response.headers.get("content-type", "").startswith("text/html") and not path.endswith(".html")
        if page or not (ranged or whole):
            what = "a page" if page else f"{response.status_code}, another range"
            raise TransferFailed(f"{self._server.name}: instead of {path} came {what}")

    def read_whole(self, folder: str, path: str) -> bytes:
        """Read a file of one part by the contents API. Raises as `read` does."""
        try:
            model = self._server.json("GET", f"api/contents/{folder}/{path}?type=file&format=base64")
            return base64.b64decode(model["content"])
        except Answered as error:
            raise self._failure(path, error) from error
        except (ValueError, LookupError, TypeError) as error:
            raise TransferFailed(f"{self._server.name}: instead of {path} came something else") from error

    def _failure(self, path: str, error: Answered) -> NoSuchFile | TransferFailed:
        if error.status == 404:
            return NoSuchFile(f"{self._server.name}: {path} is not there")
        return TransferFailed(f"{self._server.name}: {path} could not be read: {error}")


def _pieces(span: Span, size: int) -> Iterator[Span]:
    for offset in range(0, span.length, size):
        yield Span(span.offset + offset, min(size, span.length - offset))
    if not span.length:
        yield span


def _received(response: httpx.Response, most: int) -> bytes:
    """At most `most` bytes of an answer: a server that knows no ranges sends more."""
    data = BytesIO()  # hands out what was written to it without another copy
    for block in response.iter_bytes():
        if data.tell() == most:
            break  # not sooner: a connection is only used again when its answer was read to the end
        data.write(block[: most - data.tell()])
    return data.getvalue()
