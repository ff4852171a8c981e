"""The first pass in segments: vid.stab's detector watches each stretch, and what it saw is put together.

A segment begins one frame late and ends one frame late: the detector compares neighbours, so the keyframe at a cut
belongs to the segment before it, and the segment after it sees it first and says nothing of it. Both note its CRC.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import _commands
import _cut
import _ffmpeg
import _passes
from _job import ItemError
from _media import Media


@dataclass(frozen=True)
class Watched:
    """What the first pass found: when each frame is shown, its motion as vid.stab writes it, and ffmpeg's count."""

    times: tuple[int, ...]
    motions: tuple[str, ...]
    tally: _passes.Tally


class Unseamly(Exception):
    """The frames at a cut are not the same from both sides."""


def stretches(index: _cut.Index, cuts: Sequence[int]) -> list[_cut.Stretch]:
    """What each segment of the first pass reads."""
    starts, stops = [index.times[0], *cuts], [*(cut + 1 for cut in cuts), None]
    keys = [None, *cuts]
    return [_cut.Stretch(*one) for one in zip(starts, stops, keys, strict=True)]


def watch(
    stretch: _cut.Stretch, index: _cut.Index, media: Media, params: dict[str, Any], pixels: int, folder: Path
) -> Generator[float, None, Path]:
    """Watch a stretch of `input` in `folder`; yields the share done, returns the piece: JSON."""
    frames = max(1, index.count(stretch))
    run = _passes.Pass(_commands.detect_stretch(media, params, index, stretch, pixels), folder)
    for tick in run:
        yield min(1.0, tick.frame / frames)
    for _ in _passes.Pass(_commands.sum_up(media, params), folder):
        yield 1.0
    return _write(stretch, run.tally, folder)


def _write(stretch: _cut.Stretch, tally: _passes.Tally, folder: Path) -> Path:
    # Of a frame at which the segment starts with a cut, the segment before tells.
    skip = 0 if stretch.key is None else 1
    times = [int(line) for line in (folder / _commands.TIMES).read_text().split()]
    motions = _lines(folder / _ffmpeg.MOTIONS)
    if not len(times) == len(motions) == tally.encoded:
        raise ItemError(f"frames were lost: {tally.encoded} watched, {len(times)} listed, {len(motions)} recorded")
    found = {
        "times": times[skip:],
        "motions": motions[skip:],
        "seams": dict(_seams(folder / _commands.SEAM)),
        "tally": vars(tally),
    }
    piece = folder / "watched.json"
    piece.write_text(json.dumps(found))
    return piece


def is_piece(path: Path) -> bool:
    """Whether a file is a piece as `watch` writes it. Whether it fits to its neighbours is seen at their seams."""
    try:
        found = json.loads(path.read_text("utf-8"))
        tally = _passes.Tally(**found["tally"])
        return len(found["times"]) == len(found["motions"]) <= tally.encoded and isinstance(found["seams"], dict)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("ascii").splitlines() if not line.startswith("#")]


def _seams(path: Path) -> Iterator[tuple[str, str]]:
    """When the frames at the ends are shown, and their CRCs."""
    for line in _lines(path):
        _, _, time, _, _, crc = (word.strip() for word in line.split(",")[:6])
        yield time, crc


def enlarge(motions: Sequence[str], media: Media) -> tuple[str, ...]:
    """Motions seen at half size, in pixels of the clip."""
    width, height = _commands.watched_size(media, True)
    found = []
    for line in motions:
        number, x, y, *rest = line.split()
        found.append(
            f"{number} {float(x) * media.width / width!r} {float(y) * media.height / height!r} {' '.join(rest)}"
        )
    return tuple(found)


def put_together(pieces: Sequence[Path], cuts: Sequence[int], index: _cut.Index) -> Watched:
    """The pieces as one; Unseamly when the segments do not fit together exactly."""
    parts = [json.loads(piece.read_text("utf-8")) for piece in pieces]
    for cut, (before, after) in zip(cuts, pairwise(parts), strict=True):
        seen = before["seams"].get(str(cut)), after["seams"].get(str(cut))
        if seen[0] is None or seen[0] != seen[1]:
            raise Unseamly(f"the frame at {float(cut * index.tick):.3f} s is not the same from both sides of it")
    times = [time for part in parts for time in part["times"]]
    if times != sorted(set(times)):
        raise Unseamly("frames are shown in another order than they were watched")
    motions = [line for part in parts for line in part["motions"]]
    return Watched(tuple(times), tuple(motions), _sum([part["tally"] for part in parts], index, len(times)))


def _sum(tallies: Sequence[dict[str, Any]], index: _cut.Index, frames: int) -> _passes.Tally:
    # Segments read packets around their cuts twice; those of the file were counted on their own.
    found = [_passes.Tally(**tally) for tally in tallies]
    damage = next((tally.damage for tally in found if tally.damage), "")
    return _passes.Tally(index.packets, frames, sum(tally.errors for tally in found), frames, damage)
