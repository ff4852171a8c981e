"""Frames of a clip as one small file: QuickTime whose video is PNG pictures, each at the time it is shown.

A picture's time is its packet's time stamp, in whole milliseconds. Pictures are RGB of 8 bits, encoded by PIL, and
nothing in the file tells when or where it was made: the same frames are the same bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from _job import BadInput
from PIL import Image

NAME = "frames.mov"
TICK = Fraction(1, 1000)  # seconds
COMPRESSION = 2  # of zlib: real footage comes out smaller than by the default, in half the time


class Writer:
    """Takes pictures in the order of their times; `count` is how many it has. Made by `writing`."""

    def __init__(self, container: av.container.OutputContainer) -> None:
        self._container = container
        self._stream: av.VideoStream | None = None
        self.count = 0

    def add(self, seconds: float, picture: Image.Image) -> None:
        """Add a picture shown at `seconds`, which must be later than the one before."""
        if self._stream is None:
            width, height = picture.size
            self._stream = self._container.add_mux_stream("png", width=width, height=height, time_base=TICK)
        packet = av.Packet(_png(picture))
        packet.pts = packet.dts = round(seconds / TICK)
        packet.duration = 1  # with none, the last would not be shown
        packet.time_base, packet.stream, packet.is_keyframe = TICK, self._stream, True
        self._container.mux(packet)
        self.count += 1


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a file of frames; it has its name once it is whole."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with av.open(str(draft), "w", format="mov", options={"fflags": "+bitexact"}) as container:
            yield Writer(container)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> Iterator[tuple[float, Image.Image]]:
    """Seconds and picture of each frame, in order. Raises BadInput for a file that holds no such frames."""
    options = {"protocol_whitelist": "file", "format_whitelist": "mov"}
    try:
        with av.open(f"file:{path}", options=options) as container:
            for packet in container.demux(_stream(container)):
                if packet.size:
                    yield float(packet.pts * packet.time_base), _picture(bytes(packet))
    except (av.error.FFmpegError, OSError, SyntaxError, struct.error) as error:
        raise BadInput(f"the frames cannot be read: {error}") from error


def _stream(container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video or container.streams.video[0].codec_context.name != "png":
        raise BadInput("the input is no file of frames; extract_frames.py makes one of a clip")
    return container.streams.video[0]


def _png(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=COMPRESSION)
    return target.getvalue()


def _picture(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        return picture.convert("RGB")
