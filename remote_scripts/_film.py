"""A clip through an enlarger: decoded, enlarged and encoded at the same time, and never on the disk as pictures.

ffmpeg looks through the whole clip first: damage is told before the hours of work, and when each frame is shown is
known. The clip is then cut into segments of `SEGMENT` frames, each a checkpoint. The decoder reads from the clip's
beginning and never seeks: that is exact for every format, and cheap beside the network.
"""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import _ffmpeg
import av
import numpy as np
from _ffmpeg import Tracks
from _job import BadInput, ItemError
from _media import HDR_TRANSFERS, UNSPECIFIED, Media, guards, open_input
from _pictures import EXACT
from _segments import Segment
from _tiles import Enlarger

SEGMENT = 48  # frames; what an interruption may cost
JOINT = 6, 1.3  # the last frames of a segment that has a next one, and how many more bits they get: x264 sees no reason
# to spend any on them, for nothing refers to them; without, they are 1 to 2 dB worse
AHEAD = 4  # enlarged frames that may wait for the encoder
FRAMES = "frames.txt"
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


@dataclass(frozen=True)
class Timetable:
    """When each frame is shown, and for how long the last, in units of `unit` seconds; how large frames are."""

    stamps: tuple[int, ...]
    last: int
    unit: Fraction
    width: int
    height: int
    aspect: Fraction

    @property
    def segments(self) -> list[Segment]:
        """The segments that the clip is cut into."""
        return [Segment(number, f"frames-{number:06}") for number in range(-(-len(self.stamps) // SEGMENT))]

    def span(self, number: int) -> tuple[int, int]:
        """The first frame of a segment, and the first that is not in it."""
        return number * SEGMENT, min(len(self.stamps), (number + 1) * SEGMENT)


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


def timetable(folder: Path) -> Timetable:
    """Read what `watch` wrote."""
    head: dict[str, str] = {}
    stamps: list[int] = []
    last = 1
    with (folder / FRAMES).open(encoding="ascii") as lines:
        for line in lines:
            if line.startswith("#"):
                name, _, value = line[1:].partition(": ")
                head[name] = value.strip()
            else:
                stamp, last = map(int, line.split(",")[2:4])
                stamps.append(max(stamp, stamps[-1] + 1) if stamps else stamp)  # some clips show two at once
    width, _, height = head["dimensions 0"].partition("x")
    across, _, down = head["sar 0"].partition("/")
    aspect = Fraction(int(across), int(down)) if int(across) else Fraction(1)
    return Timetable(tuple(stamps), max(1, last), Fraction(head["tb 0"]), int(width), int(height), aspect)


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
        self._folder, self._times, self._colour = folder, times, colour
        self._enlarger, self._params = enlarger, params
        self._arguments = _decode(media, times, pixels)
        self._next, self._frames = 0, iter(())
        width, height = enlarger.size(times.width, times.height)
        self.size = max(2, width // 2 * 2), max(2, height // 2 * 2)  # 4:2:0 has no odd sizes

    def make(self, segment: Segment, folder: Path) -> Generator[float, None, Path]:
        """Make a segment's piece in `folder`; yields the share that is done."""
        start, stop = self._times.span(segment.number)
        settings = self._settings(stop - start if stop < len(self._times.stamps) else 0)
        with encoding(folder / PIECE, self.size, self._times, self._colour, settings) as encode:
            for number, picture in self._pictures(start, stop):
                encode(self._enlarger(picture, self.size), self._times.stamps[number])
                yield (number + 1 - start) / (stop - start)
        return folder / PIECE

    def _settings(self, joint: int) -> dict[str, str]:
        """x264's, for a segment; `joint` is how many frames it has if another follows."""
        frames, more = JOINT
        zones = f":zones={max(0, joint - frames)},{joint - 1},b={more}" if joint else ""
        return {
            "crf": str(float(self._params["crf"])),
            "preset": str(self._params["preset"]),
            "threads": str(_ffmpeg.THREADS),
            "x264-params": str(_ffmpeg.SAME_EVERYWHERE["x264-params"]) + zones,
            "flags": "+bitexact+global_header",
        }

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
                raise ItemError(f"frames were lost: {len(times.stamps)} decoded at first, then {number}")
            yield np.frombuffer(data, np.uint8).reshape(shape)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def encoding(
    path: Path, size: tuple[int, int], times: Timetable, colour: Colour, settings: dict[str, str]
) -> Iterator[Any]:
    """Write a piece; gives a function that takes a picture and its time, and encodes while its caller goes on."""
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool, av.open(str(path), "w", format="nut", options={"fflags": "+bitexact"}) as file:
        stream = _stream(file, size, times, colour, settings)

        def encode(picture: Any, stamp: int) -> None:
            waiting.append(pool.submit(_encode, file, stream, colour, times.unit, picture, stamp))
            while len(waiting) > AHEAD:
                waiting.popleft().result()

        yield encode
        for future in waiting:
            future.result()
        file.mux(stream.encode(None))


def _stream(
    file: av.container.OutputContainer,
    size: tuple[int, int],
    times: Timetable,
    colour: Colour,
    settings: dict[str, str],
) -> av.VideoStream:
    stream = file.add_stream("libx264", rate=_rate(times), options=settings)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_type = "FRAME"  # not slices, which cost bytes
    stream.time_base = context.time_base = times.unit
    context.sample_aspect_ratio = times.aspect
    context.colorspace, context.color_range = colour.matrix, colour.range
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    return stream


def _rate(times: Timetable) -> Fraction:
    span = (times.stamps[-1] - times.stamps[0]) * times.unit
    return ((len(times.stamps) - 1) / span).limit_denominator(1001) if span else Fraction(25)


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
