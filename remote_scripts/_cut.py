"""Where a clip may be cut, and how exactly the frames between two cuts are read.

Only what was measured to be exact is cut: MP4 and Matroska whose every packet has a time of its own. A cut lies at a
keyframe, so that a reader need not begin before it. Whoever reads on both sides of a cut compares what they saw of
the frame there (the seam): where they differ, the keyframe was none, and the clip is done in one piece.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from _media import Media, guards, open_input

CUT_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
PAIR_SECONDS = 40  # a pair of segments to so much: 10 to 30 s each, and an even number keeps two cores busy to the end
LEAST_SECONDS = 16  # of a clip that is cut at all
SHORTEST_SECONDS = 4  # of a segment


@dataclass(frozen=True)
class Index:
    """The packets of the video: how many, when the frames are shown (in ticks of `tick` seconds, in order), which
    of those are keyframes, when the file as a whole begins, and how long the last frame is shown."""

    packets: int
    times: tuple[int, ...]
    keys: tuple[int, ...]
    tick: Fraction
    begins: int
    last: int

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return float((self.times[-1] - self.times[0]) * self.tick)

    def count(self, stretch: Stretch) -> int:
        """How many frames are shown in a stretch."""
        stop = len(self.times) if stretch.stop is None else bisect_left(self.times, stretch.stop)
        return stop - bisect_left(self.times, stretch.first)

    def target(self, key: int) -> float:
        """Where to seek, in seconds, to land on the keyframe `key`: seeking is rough, so the middle of what follows."""
        place = bisect_right(self.keys, key)
        until = self.keys[place] if place < len(self.keys) else self.times[-1]
        return float((key + until) / 2 * self.tick)


def read_index(path: Path, media: Media, pixels: int) -> Index | None:
    """Read every packet's time, decoding nothing; None when this clip can't be cut exactly."""
    with open_input(path, pixels) as container:
        stream = container.streams[media.index]
        if media.lead or not media.seconds or container.format.name not in CUT_FORMATS or not stream.time_base:
            return None
        try:
            packets = list(_packets(container, stream))
        except av.error.FFmpegError:
            return None
        begins = round(Fraction(container.start_time or 0, av.time_base) / stream.time_base)
        return _index(packets, stream.time_base, begins)


@dataclass(frozen=True, slots=True)  # there are hundreds of thousands
class _Packet:
    time: int | None
    duration: int
    key: bool
    shown: bool


def _packets(container: Any, stream: Any) -> Iterator[_Packet]:
    for packet in container.demux(stream):
        if packet.size:
            yield _Packet(packet.pts, packet.duration or 0, packet.is_keyframe, not packet.is_discard)


def _index(packets: list[_Packet], tick: Fraction, begins: int) -> Index | None:
    shown = {packet.time: packet for packet in packets if packet.shown and packet.time is not None}
    times = sorted(shown)
    keys = [time for time, packet in shown.items() if packet.key]
    if len(times) < max(2, sum(packet.shown for packet in packets)) or sorted(keys) != keys:
        return None
    last = shown[times[-1]].duration or times[-1] - times[-2]
    return Index(len(packets), tuple(times), tuple(keys), tick, begins, last)


def count(index: Index) -> int:
    """How many segments a clip is done in: an even number, or one."""
    return 2 * max(1, round(index.seconds / PAIR_SECONDS)) if index.seconds >= LEAST_SECONDS else 1


def choose_cuts(index: Index) -> tuple[int, ...]:
    """The keyframes to cut at: as near as they come to equal segments, an even number of them. Empty: do not cut."""
    number = count(index)
    cuts: list[int] = []
    for place in range(1, number):
        wanted = index.times[0] + (index.times[-1] - index.times[0]) * place // number
        key = min(index.keys, key=lambda time, wanted=wanted: abs(time - wanted), default=None)  # type: ignore[misc]
        if key is not None and _is_apart(key, [index.times[0], *cuts, index.times[-1]], index.tick):
            cuts.append(key)
    return tuple(cuts)


def _is_apart(key: int, others: list[int], tick: Fraction) -> bool:
    return all(abs(key - other) * tick >= SHORTEST_SECONDS for other in others)


@dataclass(frozen=True)
class Stretch:
    """Frames to read: those shown from `first` up to, not with, `stop` (None: to the end), from keyframe `key` on."""

    first: int
    stop: int | None
    key: int | None

    @property
    def ends(self) -> tuple[int, ...]:
        """When its first frame is shown, and its last, if the stretch ends before the clip does at a known frame."""
        return (self.first,) if self.stop is None else (self.first, self.stop - 1)


def reading(stretch: Stretch, index: Index, pixels: int) -> dict[str, Any]:
    """The options before the input that read a stretch, with the clip's own clock.

    One thread decodes: other stretches use the other cores, and each thread would hold frames.
    """
    options: dict[str, Any] = {**guards(pixels), "threads": 1}
    if stretch.key is not None:
        options |= {"noaccurate_seek": None, "seek_timestamp": 1, "ss": f"{index.target(stretch.key):.6f}"}
    return options


def trim(stretch: Stretch) -> str:
    """The filter that lets through a stretch's frames alone, and ends the reading after them."""
    stop = "" if stretch.stop is None else f":end_pts={stretch.stop}"
    return f"trim=start_pts={stretch.first}{stop}"
