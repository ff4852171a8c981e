"""The camera's path as vid.stab found it, and the path it was smoothed to.

Motions come from vid.stab itself (`vidstabtransform=debug=1` writes `global_motions.trf`); the smoothing
is recomputed as vid.stab does it with `optalgo=gauss` (vid.stab 1.1, `cameraPathGaussian` in
`src/campathoptimization.c`), and the zoom as its `optzoom=1` does (`vsPreprocessTransforms` in `src/transform.c`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul
from pathlib import Path

BORDER = 3  # pixels at the edge that interpolation may not reach, with half-size chroma


@dataclass(frozen=True)
class CameraPath:
    """A path over time: shift in pixels of the input and angle in radians, one value a frame."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    angle: tuple[float, ...]


def count_frames(transforms: Path) -> int:
    """How many frames the detector wrote to an ASCII .trf file."""
    with transforms.open("rb") as lines:
        return sum(line.startswith(b"Frame ") for line in lines)


def read_path(motions: Path) -> CameraPath:
    """The path as filmed, summed up from the motions from frame to frame."""
    steps = []
    with motions.open(encoding="ascii") as lines:
        for line in lines:
            if not line.startswith("#"):
                steps.append(tuple(float(word) for word in line.split()[1:4]))
    x, y, angle = zip(*steps, strict=True)
    return CameraPath(*(tuple(accumulate(axis)) for axis in (x, y, angle)))


def smooth(path: CameraPath, smoothing: int) -> CameraPath:
    """The path after vid.stab's low-pass over `smoothing` frames to each side; 0 holds the camera still."""
    if smoothing == 0:
        still = (0.0,) * len(path.x)
        return CameraPath(still, still, still)
    kernel = gaussian(smoothing)
    return CameraPath(*(_convolve(axis, kernel) for axis in (path.x, path.y, path.angle)))


def gaussian(smoothing: int) -> list[float]:
    """vid.stab's kernel: exp(-(k / (smoothing / 2))^2) for k from -smoothing to smoothing."""
    return [math.exp(-((k / (smoothing / 2)) ** 2)) for k in range(-smoothing, smoothing + 1)]


def jitter(path: CameraPath) -> float:
    """Root mean square of the change of the motion from frame to frame, in pixels of the input."""
    return rms([math.hypot(dx, dy) for dx, dy in zip(_changes(path.x), _changes(path.y), strict=True)])


def rms(values: Sequence[float]) -> float:
    """Root mean square; 0 of nothing."""
    return math.sqrt(sum(value**2 for value in values) / len(values)) if values else 0.0


def optimal_zoom(path: CameraPath, smoothed: CameraPath, width: int, height: int) -> float:
    """The zoom, in percent, that hides the border in 98 of 100 frames, as `optzoom=1` chooses it."""
    shares = (
        _widest(path.x, smoothed.x) * 2 / width,
        _widest(path.y, smoothed.y) * 2 / height,
    )
    return 100 * max(shares)


@dataclass(frozen=True)
class Correction:
    """What is undone of one frame's place: shift in pixels, angle in radians, as `vidstabtransform` takes it."""

    x: float
    y: float
    angle: float


def corrections(path: CameraPath, smoothed: CameraPath) -> list[Correction]:
    """What brings each frame from where it was filmed to where the smoothed path has it."""
    axes = [(path.x, smoothed.x), (path.y, smoothed.y), (path.angle, smoothed.angle)]
    undone = [[before - after for before, after in zip(*axis, strict=True)] for axis in axes]
    return [Correction(*one) for one in zip(*undone, strict=True)]


def covers(one: Correction, zoom: float, width: int, height: int) -> bool:
    """Whether a frame, once corrected and zoomed in by `zoom` percent, leaves no border bare."""
    scale = 1 - zoom / 100
    cosine, sine = scale * math.cos(-one.angle), scale * math.sin(-one.angle)
    corners = [(x, y) for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)]
    places = [(cosine * x + sine * y - one.x, cosine * y - sine * x - one.y) for x, y in corners]
    return all(abs(x) <= width / 2 - BORDER and abs(y) <= height / 2 - BORDER for x, y in places)


def _convolve(values: Sequence[float], kernel: Sequence[float]) -> tuple[float, ...]:
    reach = len(kernel) // 2
    result = []
    for place in range(len(values)):
        start, stop = max(0, place - reach), min(len(values), place + reach + 1)
        weights = kernel[start - place + reach : stop - place + reach]
        result.append(sum(map(mul, values[start:stop], weights)) / sum(weights))
    return tuple(result)


def _changes(axis: Sequence[float]) -> list[float]:
    motion = [after - before for before, after in pairwise(axis)]
    return [after - before for before, after in pairwise(motion)]


def _widest(path: Sequence[float], smoothed: Sequence[float]) -> float:
    shifts = sorted(before - after for before, after in zip(path, smoothed, strict=True))
    if len(shifts) < 2:
        return 0.0
    cut = len(shifts) // 100
    return max(shifts[-cut - 1], abs(shifts[cut]))
