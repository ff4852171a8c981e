"""PNGs of 16 bits, which PIL cuts to 8 as soon as they have colour or transparency."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: kind of colour, by the book (ISO/IEC 15948)
CHANNELS = {"gray16be": 1, "ya16be": 2, "rgb48be": 3, "rgba64be": 4}  # as ffmpeg's decoder calls them
STRIP = 64  # rows that are compressed at once: a whole picture would be copied several times
UP = 2  # the filter of every row: its difference to the one above


def read_deep(path: Path) -> Any | None:
    """The pixels (height, width, channels) of a PNG of 16 bits, of uint16; None of any other.

    One colour that stands for transparent is a channel, like any transparency. Raises av's errors for a damaged file.
    """
    with path.open("rb") as file:
        if file.read(25)[24:] != b"\x10":
            return None
    with av.open(f"file:{path}", format="png_pipe", options={"protocol_whitelist": "file"}) as container:
        frame = next(container.decode(video=0))
    count = CHANNELS[frame.format.name]
    rows = np.frombuffer(frame.planes[0], ">u2").reshape(frame.height, -1)
    return rows[:, : frame.width * count].reshape(frame.height, frame.width, count).astype(np.uint16)


def write_deep(path: Path, colour: Any, alpha: Any | None, profile: bytes | None, exif: bytes | None) -> None:
    """Write `colour` (height, width, 3 or, if grey, no third) and `alpha` (height, width), all of uint16."""
    height, width = colour.shape[:2]
    count = (1 if colour.ndim == 2 else 3) + (alpha is not None)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, KINDS[count], 0, 0, 0)))
        if profile:
            file.write(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile, 6)))
        if exif:
            file.write(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
        for data in _compressed(colour, alpha):
            file.write(_chunk(b"IDAT", data))
        file.write(_chunk(b"IEND", b""))


def _compressed(colour: Any, alpha: Any | None) -> Iterator[bytes]:
    squeeze = zlib.compressobj(6)
    last = np.uint8(0)  # what is above the first row
    for start in range(0, len(colour), STRIP):
        rows = _rows(colour[start : start + STRIP], None if alpha is None else alpha[start : start + STRIP])
        lines = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
        lines[:, 0] = UP
        lines[0, 1:], lines[1:, 1:] = rows[0] - last, rows[1:] - rows[:-1]
        last = rows[-1]
        if data := squeeze.compress(lines):
            yield data
    yield squeeze.flush()


def _rows(colour: Any, alpha: Any | None) -> Any:
    """Rows of pixels as the bytes that a PNG has them in."""
    channels = [np.atleast_3d(colour)] + ([alpha[..., None]] if alpha is not None else [])
    return np.concatenate(channels, axis=2).astype(">u2").reshape(len(colour), -1).view(np.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
