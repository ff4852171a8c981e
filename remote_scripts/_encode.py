"""The second pass in segments: each stretch is warped along the one path of the whole clip, and encoded by itself.

No joint is seen in the picture. By its manual vid.stab fills a border that a frame leaves bare with what it showed
before (the pinned build does not, another may), so a segment begins only at a frame that leaves none. The encoder looks
ahead, so it is given frames beyond the joint, which are dropped; that they can be, the last frame kept is made a P
frame: all that comes before it in time has then come before it in the stream.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import _camera
import _commands
import _cut
import _ffmpeg
import _passes
import av
from _job import ItemError
from _media import Media, open_input
from av.stream import Disposition
from av.video.frame import PictureType

BEYOND = 16  # frames encoded after a joint and dropped; 40 were no better, 8 lost up to 0.6 dB
ENCODER_THREADS = 2  # of each segment; constant because x264's output depends on it, few because each holds frames
LOOKAHEAD = 20  # frames; x264's own 40 would take 130 MB more at 1080p, for 0.08 dB
FRUGAL = "cpu-independent=1:sync-lookahead=0"  # x264 looks ahead when it is given a frame: other segments use the cores
FARSIGHTED = ("fast", "medium", "slow", "slower", "veryslow")  # the presets that look further ahead than that
SEARCH = 90  # frames after the wanted joint among which one without a bare border is looked for


@dataclass(frozen=True)
class Look:
    """What is written of every frame beside its pixels: colours (H.273 numbers), shape of pixels, frame rate."""

    width: int
    height: int
    range: int
    primaries: int
    transfer: int
    matrix: int
    shape: Fraction | None
    rate: Fraction
    disposition: str
    header: bytes


@dataclass(frozen=True)
class Run:
    """Frames to encode, by number: from `first` up to, not with, `stop`; those from there up to `end` are dropped."""

    first: int
    stop: int
    end: int
    stretch: _cut.Stretch


def choose_runs(index: _cut.Index, times: Sequence[int], clean: Sequence[bool]) -> list[Run]:
    """Equal segments, as far as their first frames are clean; one, where none is."""
    joints = [0, *_joints(index, times, clean), len(times)]
    return [_run(index, times, first, stop) for first, stop in pairwise(joints)]


def _joints(index: _cut.Index, times: Sequence[int], clean: Sequence[bool]) -> list[int]:
    number = _cut.count(index)
    joints: list[int] = []
    for place in range(1, number):
        wanted = len(times) * place // number
        near = next((at for at in range(wanted, min(wanted + SEARCH, len(times))) if clean[at]), None)
        if near is not None and near - (joints[-1] if joints else 0) > SEARCH < len(times) - near:
            joints.append(near)
    return joints


def _run(index: _cut.Index, times: Sequence[int], first: int, stop: int) -> Run:
    end = min(stop + BEYOND, len(times)) if stop < len(times) else stop
    after = times[end] if end < len(times) else None
    place = bisect_right(index.keys, times[first])
    key = index.keys[place - 1] if first and place else None
    return Run(first, stop, end, _cut.Stretch(times[first], after, key))


def look(media: Media, params: dict[str, Any], pixels: int, folder: Path) -> Look:
    """What the second pass, done in one piece, would write of the picture, seen on its first frames."""
    for _ in _passes.Pass(_commands.sample(media, params, pixels, "sample.mp4"), folder):
        pass
    with open_input(folder / _ffmpeg.SOURCE, pixels) as source:
        stream: Any = source.streams[media.index]
        rate, flags = stream.guessed_rate, [flag.name for flag in Disposition if flag & stream.disposition]
    with av.open(str(folder / "sample.mp4")) as container:
        seen = container.streams.video[0].codec_context
        return Look(
            seen.width,
            seen.height,
            int(seen.color_range),
            int(seen.color_primaries),
            int(seen.color_trc),
            int(seen.colorspace),
            seen.sample_aspect_ratio,
            rate or Fraction(25),
            "+".join(str(flag) for flag in flags) or "0",
            seen.extradata or b"",
        )


def header(look: Look, index: _cut.Index, params: dict[str, Any]) -> bytes:
    """What the encoder of a segment says of all of its pictures."""
    context = av.CodecContext.create("libx264", "w")
    context.options = options(params)
    _dress(context, look, index.tick)
    context.open()
    return context.extradata or b""


def is_matched(header: bytes, look: Look) -> bool:
    """Whether a segment's header says of the picture just what the one-piece pass would say."""
    return _parameter_sets(header) == _parameter_sets(look.header)


def _parameter_sets(header: bytes) -> list[bytes]:
    """The sequence's and the picture's parameters, from MP4's form of the header or the stream's own."""
    if header[:1] != b"\1":
        return [part.rstrip(b"\0") for part in header.split(b"\0\0\1") if part[:1] and part[0] & 31 in (7, 8)]
    found, place = [], 6
    for _ in range(2):
        size = int.from_bytes(header[place : place + 2])
        found.append(header[place + 2 : place + 2 + size].rstrip(b"\0"))
        place += 3 + size
    return found


class Encoding(_passes.Pass):
    """Warps a run of `input` in `folder` for an encoder, which is to be finished: iterate for its progress."""

    def __init__(self, arguments: list[str], folder: Path, encoder: Encoder) -> None:
        super().__init__(arguments, folder)
        self._encoder = encoder

    def _follow(self, process: Any) -> Generator[_passes.Tick, None, bool]:
        for number, frame in enumerate(_pictures(process.stdout.fileno())):
            self._encoder.take(frame)
            yield _passes.Tick(number + 1, 0.0)
        return True


def _pictures(pipe: int) -> Iterator[av.VideoFrame]:
    # Where it breaks off, ffmpeg's status says why.
    with suppress(av.error.FFmpegError), av.open(f"pipe:{pipe}", format="nut") as pictures:
        yield from pictures.decode(video=0)


class Encoder:
    """x264 as the one-piece pass sets it, writing a run's kept frames to `place`."""

    def __init__(self, place: Path, run: Run, times: Sequence[int], index: _cut.Index, look: Look, params: Any) -> None:
        self._run, self._times, self._tick = run, times, index.tick
        self._next, self._kept, self._beyond = run.first, 0, False
        # What is decoded before it is shown has negative times, and is to keep them.
        self._file = av.open(str(place), "w", format="nut", options={"avoid_negative_ts": "disabled"})
        self._start = times[run.first]
        self._stream = self._file.add_stream("libx264", rate=look.rate, options=options(params))
        _dress(self._stream.codec_context, look, index.tick)

    def take(self, frame: av.VideoFrame) -> None:
        """Encode the next frame; ItemError when it is not the one that is next."""
        if self._next >= self._run.end or frame.pts * frame.time_base != self._times[self._next] * self._tick:
            raise ItemError(f"frame {self._next} was not where the first pass saw it")
        frame.pts, frame.time_base = self._times[self._next] - self._start, self._tick
        joint = self._next == self._run.stop - 1 and self._run.end > self._run.stop
        # The decoder of the raw pictures calls each an I frame; only the frame before the joint is to be of a kind.
        frame.pict_type = PictureType.P if joint else PictureType.NONE
        self._next += 1
        self._write(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds; ItemError when a frame is missing."""
        self._write(self._stream.encode(None))
        self._file.close()
        if self._next != self._run.end or self._kept != self._run.stop - self._run.first:
            raise ItemError(f"frames were lost: {self._run.end - self._run.first} to encode, {self._kept} kept")

    def _write(self, packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            if packet.pts + self._start > self._times[self._run.stop - 1]:
                self._beyond = True
            elif self._beyond:
                raise ItemError("a frame before a joint needs one that lies beyond it")
            else:
                self._kept += 1
                self._file.mux(packet)


def options(params: dict[str, Any]) -> dict[str, str]:
    """How x264 is set for a segment."""
    return {
        "preset": str(params["preset"]),
        "crf": str(float(params["crf"])),
        "threads": str(ENCODER_THREADS),
        "x264-params": FRUGAL + (f":rc-lookahead={LOOKAHEAD}" if params["preset"] in FARSIGHTED else ""),
        "flags": "+bitexact+global_header",
    }


def _dress(context: Any, look: Look, tick: Fraction) -> None:
    context.thread_type = "FRAME"  # not slices, which cost bytes and use fewer cores
    context.width, context.height, context.pix_fmt = look.width, look.height, "yuv420p"
    context.time_base, context.framerate = tick, look.rate
    context.color_range, context.color_primaries = look.range, look.primaries
    context.color_trc, context.colorspace = look.transfer, look.matrix
    if look.shape:
        context.sample_aspect_ratio = look.shape


def write_path(corrections: Sequence[_camera.Correction], place: Path) -> None:
    """Write corrections as vid.stab's old format of transforms, with every digit they have."""
    lines = (f"{number} {one.x!r} {one.y!r} {one.angle!r} 0 0\n" for number, one in enumerate(corrections))
    place.write_text("".join(lines), "ascii")
