"""How an enlarged clip is encoded: x264's settings, frugal where frames are large, and the memory that they take.

All of it follows from the preset and the size of a frame, so that it is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import _ffmpeg

JOINT = 6, 1.3  # the last frames of a segment that has a next one, and how many more bits they get: x264 sees no reason
# to spend any on them, for nothing refers to them; without, they are 1 to 2 dB worse
PRESETS = {  # how many frames each looks ahead, refers to, and has in a row that no other refers to
    "ultrafast": (0, 1, 0),
    "superfast": (0, 1, 3),
    "veryfast": (10, 1, 3),
    "faster": (20, 2, 3),
    "fast": (30, 2, 3),
    "medium": (40, 3, 3),
    "slow": (50, 5, 3),
    "slower": (60, 8, 3),
    "veryslow": (60, 16, 8),
}
FIXED_PIXEL, AHEAD_PIXEL, REFERENCE_PIXEL, THREAD_PIXEL = 20.0, 3.2, 11.5, 8.7  # bytes of a pixel, by measure
AHEAD_BYTES, LEAST_AHEAD = 5e8, 10  # what frames looked at ahead may take, but for the least of them
LARGE = 3840 * 2160  # pixels; of larger frames, fewer are at work at a time
FEW_FRAMES, FEW_THREADS = 3, 2


@dataclass(frozen=True)
class Effort:
    """Frames that are held at a time: looked at ahead, referred to, in a row that no other refers to, encoded at once,
    and waiting to be."""

    ahead: int
    references: int
    row: int
    threads: int
    waiting: int


def effort(preset: str, size: tuple[int, int]) -> Effort:
    """How many frames of that size are held."""
    ahead, references, row = PRESETS[preset]
    area = math.prod(size)
    ahead = min(ahead, max(LEAST_AHEAD, int(AHEAD_BYTES / (AHEAD_PIXEL * area))))
    if area > LARGE:
        return Effort(ahead, min(references, FEW_FRAMES), min(row, FEW_FRAMES), FEW_THREADS, 1)
    return Effort(ahead, references, row, _ffmpeg.THREADS, 4)


def memory(preset: str, size: tuple[int, int]) -> float:
    """About how many bytes encoding takes."""
    held = effort(preset, size)
    each = FIXED_PIXEL + AHEAD_PIXEL * held.ahead + REFERENCE_PIXEL * held.references + THREAD_PIXEL * held.threads
    return math.prod(size) * (each + 3 * held.waiting)


def settings(params: Mapping[str, Any], size: tuple[int, int], joint: int) -> dict[str, str]:
    """x264's, for a segment; `joint` is how many frames it has if another follows."""
    held, (frames, more) = effort(params["preset"], size), JOINT
    zones = f":zones={max(0, joint - frames)},{joint - 1},b={more}" if joint else ""
    frugal = f":rc-lookahead={held.ahead}:ref={held.references}:bframes={held.row}"
    return {
        "crf": str(float(params["crf"])),
        "preset": str(params["preset"]),
        "threads": str(held.threads),
        "x264-params": str(_ffmpeg.SAME_EVERYWHERE["x264-params"]) + frugal + zones,
        "flags": "+bitexact+global_header",
    }
