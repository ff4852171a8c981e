"""Files of jobs over HTTP: in whole or a range of them, so that a player may jump; never as a page of ours.

What a browser shows by itself is a short list: a document could ask the server in our name. All else is to be saved.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from server.problems import NotFound, Refusal
from services.base.text import plain

SHOWN = re.compile(
    r"video/[\w.+-]+|audio/[\w.+-]+|image/(?:png|jpeg|webp|gif|avif|bmp|tiff)|application/(?:json|x-subrip)"
    r"|text/(?:plain|vtt|tab-separated-values)"
)
"""Media types that hold nothing to run."""

BYTES = "application/octet-stream"
CHUNK = 256 * 1024

RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")
"""One range: a request for several, or one that is misspelt, is answered with the whole, as it may be (RFC 9110)."""


@dataclass(frozen=True)
class Served:
    """A file to be sent: `is_same` says whether what is there is still it, `what` and `name` what people call it."""

    path: Path
    is_same: Callable[[os.stat_result], bool]
    sha256: str
    kind: str
    name: str
    what: str


def answer(request: Request, served: Served, download: bool = False) -> Response:
    """The file, or the range of it that was asked for. Raises NotFound, and Refusal for a range beyond it."""
    file, found = _opened(served)
    size, etag = found.st_size, f'"{served.sha256}-{found.st_mtime_ns:x}"'  # whoever has it would not hear of a change
    headers = _headers(served, download) | {"ETag": etag}
    if _is_known(request, etag):
        file.close()
        return Response(status_code=304, headers=headers)
    span = _span(request, size, etag)
    start, end = span or (0, size)
    headers |= {"Content-Length": f"{end - start}"}
    headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"} if span else {}
    body = _read(file, start, end if request.method != "HEAD" else start)
    return StreamingResponse(body, 206 if span else 200, headers, headers["Content-Type"])


def _opened(served: Served) -> tuple[BinaryIO, os.stat_result]:
    """The file, and what it is: what is looked at is what is sent, whatever happens to the name."""
    gone = NotFound(f"{served.what} is not there any more as it was: it was moved, deleted or changed")
    try:
        file = os.fdopen(os.open(served.path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # a pipe would keep us waiting
    except OSError as error:
        raise gone from error
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and served.is_same(found):
        return file, found
    file.close()
    raise gone


def _headers(served: Served, download: bool) -> dict[str, str]:
    shown = SHOWN.fullmatch(served.kind) is not None
    text = "; charset=utf-8" if served.kind.startswith("text/") or served.kind == "application/x-subrip" else ""
    return {
        "Content-Type": served.kind + text if shown else BYTES,
        "Content-Disposition": _disposition("inline" if shown and not download else "attachment", served.name),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
    }


def _disposition(how: str, name: str) -> str:
    """As RFC 6266 has it: the name in plain letters for old clients, and in full, encoded as in RFC 8187."""
    name = plain(name)
    simple = re.sub(r'[^ -~]|["\\%]', "_", name)
    return f"{how}; filename=\"{simple}\"; filename*=UTF-8''{quote(name, safe='')}"


def _is_known(request: Request, etag: str) -> bool:
    known = [word.strip().removeprefix("W/") for word in request.headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def _span(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The bytes that were asked for, from and to; None for all. Raises Refusal where there are none of these."""
    found = RANGE.fullmatch(request.headers.get("range", ""))
    if not found or found.groups() == ("", "") or request.headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(first) > int(last):
        return None  # misspelt
    if start >= size:
        said = f"there are {size} bytes, and what was asked for is beyond them"
        raise Refusal(416, said, headers={"Content-Range": f"bytes */{size}"})
    return start, end


def _read(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk
