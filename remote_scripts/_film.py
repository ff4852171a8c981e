"""A clip through an enlarger: decoded, enlarged and encoded at the same time, and never on the disk as pictures.

ffmpeg looks through the whole clip first: damage is told before the hours of work, and when each frame is shown is
known. The clip is then cut into segments, each a checkpoint. The decoder reads from the clip's beginning and never
seeks: that is exact for every format, and cheap beside the network.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import _ffmpeg
import _join
import _passes
import _x264
import av
import numpy as np
from _ffmpeg import Tracks
from _job import BadInput, ItemError
from _media import HDR_TRANSFERS, UNSPECIFIED, Media, guards, open_input
from _pictures import EXACT
from _segments import Segment
from _tiles import Enlarger
from _timetable import FRAMES, Timetable

SCHEME = 1  # counted up when the same names would mean other pieces
PIECE = "piece.nut"
MPEG, JPEG = 1, 2  # ffmpeg's numbers for limited and full range
BT709 = 1  # ITU-T H.273, for all three
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # H.273's number of a YUV matrix: swscale's
BT601 = 5  # swscale's number, and its guess where none is said
EXACT_RGB = "flags=bicubic+accurate_rnd+bitexact+full_chroma_int+full_chroma_inp,format=rgb24"


@dataclass(frozen=True)
class Colour:
    """How the picture's colour is coded, in ffmpeg's numbers."""

    matrix: int
    primaries: int
    transfer: int
    range: int


def command(pixels: int) -> list[str]:
    """The beginning of each of our commands for ffmpeg: the input is its first."""
    return [_ffmpeg.executable(), *_ffmpeg.GLOBAL, *_ffmpeg.PROGRESS, *opened(_ffmpeg.SOURCE, pixels)]


def opened(name: str, pixels: int) -> list[str]:
    """Arguments that open a file under the guards."""
    guarded = (word for option, value in guards(pixels).items() for word in (f"-{option}", value))
    return [*guarded, "-i", f"file:{name}"]


def mapped(tracks: Tracks) -> list[str]:
    """Arguments that take the input's other tracks."""
    return [word for index in tracks.kept for word in ("-map", f"0:{index}")]


def watch(media: Media, tracks: Tracks, pixels: int) -> list[str]:
    """Arguments of a pass that decodes the whole clip, and writes down when each frame is shown."""
    frames = ["-map", f"0:{media.index}", "-fps_mode", "passthrough", "-enc_time_base:v", "demux", "-f", "framecrc"]
    # The other tracks go nowhere; but they count for when the input starts.
    unused = [*mapped(tracks), "-c", "copy", "-f", "null", "-"] if tracks.kept else []
    return [*command(pixels), *frames, FRAMES, *unused]


def colour(folder: Path, media: Media, pixels: int) -> Colour:
    """How the result's colour is coded: as the input's, unless that cannot be kept."""
    if media.transfer in HDR_TRANSFERS:
        return Colour(BT709, BT709, BT709, MPEG)
    frame = _first_frame(folder, media, pixels)
    if media.rgb:
        return Colour(BT709, int(frame.color_primaries), int(frame.color_trc), MPEG)
    full = int(frame.color_range) == JPEG or media.pix_fmt.startswith("yuvj")
    return Colour(int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), JPEG if full else MPEG)


def _first_frame(folder: Path, media: Media, pixels: int) -> av.VideoFrame:
    with open_input(folder / _ffmpeg.SOURCE, pixels) as container:
        for packet in container.demux(container.streams[media.index]):
            with suppress(av.error.FFmpegError):  # what comes before the first keyframe
                if frames := packet.decode():
                    return frames[0]
    raise BadInput("the input is damaged: not one of its frames can be decoded")


class Film:
    """The clip in `folder`, being enlarged."""

    def __init__(
        self,
        folder: Path,
        media: Media,
        times: Timetable,
        colour: Colour,
        enlarger: Enlarger,
        params: dict[str, Any],
        pixels: int,
    ) -> None:
        # A size of one's own is the shape that it is shown in.
        self._times = replace(times, aspect=Fraction(1)) if enlarger.width else times
        self._folder, self._colour, self._enlarger, self._params = folder, colour, enlarger, params
        self._arguments = _decode(media, times, pixels)
        self._next, self._frames = 0, iter(())
        width, height = enlarger.size(times.width, times.height)
        self.size = max(2, width // 2 * 2), max(2, height // 2 * 2)  # 4:2:0 has no odd sizes

    def segments(self, weights: Sequence[str]) -> list[Segment]:
        """The segments that the clip is cut into, by names that stand for all that decides what is made of them.

        `weights` are the models' checksums. Neither the device nor what memory left of the tiles is in a name: what was
        begun on one machine goes on at another.
        """
        own = {name: value for name, value in self._params.items() if name != "threads"}
        seen = SCHEME, self._times.content, astuple(self._colour), self.size
        told = json.dumps([*seen, own, *weights], sort_keys=True)
        return self._times.segments(hashlib.sha256(told.encode()).hexdigest()[:16])

    def owns(self, segment: Segment, piece: Path) -> bool:
        """Whether a piece that was found is what `make` makes: all its frames, and encoded alike."""
        start, stop = self._times.span(segment.number)
        return _join.is_piece(piece, self._header, stop - start)

    @cached_property
    def _header(self) -> bytes | None:
        """How the encoder says that pictures are coded."""
        with av.open(io.BytesIO(), "w", format="nut") as file:
            settings = _x264.settings(self._params, self.size, 0)
            context = _stream(file, self.size, self._times, self._colour, settings).codec_context
            context.open()
            return context.extradata

    def make(self, segment: Segment, folder: Path) -> Generator[float, None, Path]:
        """Make a segment's piece in `folder`; yields the share that is done."""
        start, stop = self._times.span(segment.number)
        joint = stop - start if stop < len(self._times.stamps) else 0
        settings = _x264.settings(self._params, self.size, joint)
        waiting = _x264.effort(self._params["preset"], self.size).waiting
        with encoding(folder / PIECE, self.size, self._times, self._colour, settings, waiting) as encode:
            for number, picture in self._pictures(start, stop):
                larger = yield from self._enlarged(picture, number - start, stop - start)
                encode(larger, self._times.stamps[number])
        return folder / PIECE

    def _enlarged(self, picture: Any, number: int, count: int) -> Generator[float, None, Any]:
        """Enlarge the frame `number` of `count`; yields the share of all of them that is done."""
        yield number / count
        work = self._enlarger.steps(picture, self.size)
        try:
            while True:
                yield (number + next(work)) / count
        except StopIteration as end:
            return end.value

    def _pictures(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        if start < self._next or not self._next:
            self.close()
            self._frames = _decoded(self._arguments, self._folder, self._times)
        while self._next < stop:
            picture = next(self._frames)
            self._next += 1
            if self._next > start:
                yield self._next - 1, picture

    def close(self) -> None:
        """End the decoder."""
        self._next = 0
        if isinstance(self._frames, Generator):
            self._frames.close()


def _decode(media: Media, times: Timetable, pixels: int) -> list[str]:
    scale = f"scale={times.width}:{times.height}:{EXACT_RGB}"  # a clip may change its size on the way
    start = [_ffmpeg.executable(), "-nostdin", "-v", "error", "-max_error_rate", "1"]
    picture = ["-map", f"0:{media.index}", "-filter:v:0", ",".join((*_to_sdr(media), scale))]
    return [*start, *opened(_ffmpeg.SOURCE, pixels), *picture, "-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]


def _to_sdr(media: Media) -> Iterator[str]:
    if media.transfer in HDR_TRANSFERS:
        if media.primaries == UNSPECIFIED:
            yield "setparams=color_primaries=bt2020:colorspace=bt2020nc"
        yield from _ffmpeg.TONE_MAP


def _decoded(arguments: list[str], folder: Path, times: Timetable) -> Iterator[Any]:
    """Every frame of the clip, as an array (height, width, 3) of uint8."""
    shape = times.height, times.width, 3
    process = subprocess.Popen(arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        for number in range(len(times.stamps)):
            data = process.stdout.read(shape[0] * shape[1] * shape[2])
            if len(data) < shape[0] * shape[1] * shape[2]:
                _passes.end_alike(process.wait())
                raise ItemError(f"frames were lost: {len(times.stamps)} decoded at first, then {number}")
            yield np.frombuffer(data, np.uint8).reshape(shape)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def encoding(
    path: Path, size: tuple[int, int], times: Timetable, colour: Colour, settings: dict[str, str], most: int
) -> Iterator[Any]:
    """Write a piece; gives a function that takes a picture and its time, and encodes while its caller goes on.

    At `most` so many pictures wait for the encoder.
    """
    waiting: deque[Future[None]] = deque()
    # The file is closed last: where the disk is full, pictures are waiting still.
    with av.open(str(path), "w", format="nut", options={"fflags": "+bitexact"}) as file, ThreadPoolExecutor(1) as pool:
        stream = _stream(file, size, times, colour, settings)

        def encode(picture: Any, stamp: int) -> None:
            waiting.append(pool.submit(_encode, file, stream, colour, times.unit, picture, stamp))
            while len(waiting) > most:
                waiting.popleft().result()

        try:
            yield encode
            for future in waiting:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
        file.mux(stream.encode(None))


def _stream(
    file: av.container.OutputContainer,
    size: tuple[int, int],
    times: Timetable,
    colour: Colour,
    settings: dict[str, str],
) -> av.VideoStream:
    stream = file.add_stream("libx264", rate=times.rate, options=settings)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_type = "FRAME"  # not slices, which cost bytes
    stream.time_base = context.time_base = times.unit
    context.sample_aspect_ratio = times.aspect
    context.colorspace, context.color_range = colour.matrix, colour.range
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    return stream


def _encode(
    file: av.container.OutputContainer,
    stream: av.VideoStream,
    colour: Colour,
    unit: Fraction,
    picture: Any,
    stamp: int,
) -> None:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=MATRICES.get(colour.matrix, BT601),
        src_color_range=JPEG,
        dst_color_range=colour.range,
        interpolation=EXACT,
        threads=1,
    )
    frame.pts, frame.time_base = stamp, unit
    frame.colorspace = colour.matrix
    file.mux(stream.encode(frame))
