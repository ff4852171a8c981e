"""A little of what a service takes: enough to see whether it works, and made here, without anything to download."""

from __future__ import annotations

import math
import struct
import wave
import zlib
from collections.abc import Collection
from pathlib import Path

SECONDS = 1
RATE = 16_000
FPS = 10
WIDTH, HEIGHT = 320, 240
SQUARE = 20


def sample(accepts: Collection[str], folder: Path) -> Path:
    """Make a file of a kind that is among the suffixes `accepts`. Raises LookupError when we can make none of them."""
    for suffix, make in ((".mp4", _clip), (".wav", _sound), (".png", _picture)):
        path = folder / f"sample{suffix}"
        if suffix in accepts:
            if not path.exists():
                make(path)
            return path
    raise LookupError(f"no sample is known for {', '.join(sorted(accepts))}")


def _clip(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(SECONDS * FPS):
            picture = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
            picture.planes[0].update(_pixels(number, picture.planes[0].line_size))
            picture.pts = number
            container.mux(video.encode(picture.reformat(format="yuv420p")))
        tone = av.AudioFrame("s16", "mono", SECONDS * RATE, align=1)
        tone.planes[0].update(_tone())
        tone.sample_rate, tone.pts = RATE, 0
        container.mux(sound.encode(tone))
        container.mux(video.encode())
        container.mux(sound.encode())


def _pixels(shift: int, line: int = WIDTH * 3) -> bytes:
    """Squares in colours of their own, each picture a little further on."""
    rows = []
    for y in range(0, HEIGHT, SQUARE):
        row = b"".join(_colour((x + shift) // SQUARE, y // SQUARE) for x in range(WIDTH))
        rows.append(row.ljust(line, b"\0") * SQUARE)
    return b"".join(rows)


def _colour(column: int, row: int) -> bytes:
    return zlib.crc32(bytes((column, row))).to_bytes(4)[:3]


def _tone() -> bytes:
    wave_ = (int(8000 * math.sin(2 * math.pi * 440 * step / RATE)) for step in range(SECONDS * RATE))
    return struct.pack(f"<{SECONDS * RATE}h", *wave_)


def _sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(_tone())


def _picture(path: Path) -> None:
    lines = _pixels(0)
    raw = b"".join(b"\0" + lines[at : at + WIDTH * 3] for at in range(0, len(lines), WIDTH * 3))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
