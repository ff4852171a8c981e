"""Parts over an SFTP channel: many requests on their way at once, every answer looked at."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from executors.base import Span, read_part
from executors.ssh.link import Channel

Observe = Callable[[int, float], None]


def write(channel: Channel, source: Path, span: Span, path: str, observe: Observe) -> None:
    """Write `span` of a local file to the new remote file `path`, creating its folder.

    Raises TransferFailed when `source` has no such span any more, OSError when the server refuses.
    """
    started = time.monotonic()
    with _create(channel.sftp, path) as file:
        file.MAX_REQUEST_SIZE = channel.request_bytes
        for piece in _pieces(span, channel.request_bytes):
            end = piece.offset + piece.length
            # The last write collects the answers to all before it; closing would drop them unread.
            file.set_pipelined(end < span.offset + span.length)
            file.write(read_part(source, piece))
            observe(end - span.offset, time.monotonic() - started)


def _create(sftp: Any, path: str) -> Any:
    try:
        return sftp.open(path, "wx", bufsize=0)
    except FileNotFoundError:
        make_folders(sftp, posixpath.dirname(path))
        return sftp.open(path, "wx", bufsize=0)


def make_folders(sftp: Any, path: str) -> None:
    """Create a folder and those above it, private to the user. What exists or cannot be shows when it is used."""
    if path not in ("", "/") and not _exists(sftp, path):
        make_folders(sftp, posixpath.dirname(path))
        with suppress(OSError):  # another thread was faster
            sftp.mkdir(path, 0o700)


def _exists(sftp: Any, path: str) -> bool:
    try:
        sftp.stat(path)
    except FileNotFoundError:
        return False
    return True


def read(channel: Channel, path: str, span: Span, observe: Observe) -> bytes:
    """Read a range; short at the file's end. Raises FileNotFoundError, OSError when the server refuses."""
    started = time.monotonic()
    with channel.sftp.open(path, "rb", bufsize=0) as file:
        file.MAX_REQUEST_SIZE = channel.request_bytes
        length = max(0, min(span.length, file.stat().st_size - span.offset))  # beyond the end there are only errors
        pieces = _pieces(Span(span.offset, length), channel.request_bytes)
        data = b"".join(file.readv([(piece.offset, piece.length) for piece in pieces])) if length else b""
    observe(len(data), time.monotonic() - started)
    return data


def _pieces(span: Span, size: int) -> Iterator[Span]:
    for offset in range(0, span.length, size):
        yield Span(span.offset + offset, min(size, span.length - offset))
