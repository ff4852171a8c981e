"""When each frame of a clip is shown, what it is, and into which segments the clip is cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import _ffmpeg
from _media import Media, open_input
from _segments import Segment

SEGMENT = 48  # frames; what an interruption may cost
MOST = 1000  # segments; those of a clip that would have more are longer, for so many pieces of a job are not kept
FRAMES = "frames.txt"
ROUNDED = 2  # units of a clip's clock, by which its length may differ from what its frame rate says


@dataclass(frozen=True)
class Timetable:
    """When each frame is shown, and for how long the last, in units of `unit` seconds; how large frames are.

    `rate` is of frames a second, on average; `content` stands for all that can be seen, and when.
    """

    stamps: tuple[int, ...]
    last: int
    unit: Fraction
    width: int
    height: int
    aspect: Fraction
    rate: Fraction
    content: str

    @property
    def seconds(self) -> float:
        """How long the clip is."""
        return float((self.stamps[-1] + self.last - self.stamps[0]) * self.unit)

    def segments(self, digest: str) -> list[Segment]:
        """The segments that the clip is cut into; `digest` stands for what is made of them."""
        number = -(-len(self.stamps) // self._length)
        return [Segment(place, f"frames-{place:06}-{digest}") for place in range(number)]

    def span(self, number: int) -> tuple[int, int]:
        """The first frame of a segment, and the first that is not in it."""
        return number * self._length, min(len(self.stamps), (number + 1) * self._length)

    @property
    def _length(self) -> int:
        return max(SEGMENT, -(-len(self.stamps) // MOST))


def timetable(folder: Path, media: Media, pixels: int) -> Timetable:
    """Read what ffmpeg wrote of each frame of the clip in `folder`, as framecrc."""
    with (folder / FRAMES).open(encoding="ascii") as lines:
        head, stamps, last, content = _read(lines)
    width, _, height = head["dimensions 0"].partition("x")
    across, _, down = head["sar 0"].partition("/")
    aspect, unit = Fraction(int(across), int(down)) if int(across) else Fraction(1), Fraction(head["tb 0"])
    with open_input(folder / _ffmpeg.SOURCE, pixels) as container:
        said = container.streams[media.index].guessed_rate
    rate = _rate(len(stamps) - 1, (stamps[-1] - stamps[0]) * unit, said, unit) if stamps else Fraction(25)
    return Timetable(tuple(stamps), max(1, last), unit, int(width), int(height), aspect, rate, content)


def _read(lines: Iterable[str]) -> tuple[dict[str, str], list[int], int, str]:
    head: dict[str, str] = {}
    stamps: list[int] = []
    last, digest = 1, hashlib.sha256()
    for line in lines:
        if line.startswith("#"):
            name, _, value = line[1:].partition(": ")
            head[name] = value.strip()
        else:
            stamp, last = map(int, line.split(",")[2:4])
            stamps.append(max(stamp, stamps[-1] + 1) if stamps else stamp)  # some clips show two at once
        if not line.startswith("#software"):
            digest.update(line.encode())
    return head, stamps, last, digest.hexdigest()


def _rate(frames: int, span: Fraction, said: Fraction | None, unit: Fraction) -> Fraction:
    """Frames a second: as the file says, unless its own clock does."""
    # Of Matroska's, which counts milliseconds, 24000/1001 could not be told.
    if said and abs(frames / said - span) <= ROUNDED * unit:
        return said
    return (frames / span).limit_denominator(1001) if span else Fraction(25)
