"""The report: both camera paths drawn, and the pictures themselves measured with OpenCV.

The measuring decodes the input and the result again, through PyAV under the same guards as everything else,
and needs no reference: jitter (root mean square of the change, from frame to frame, of the motion of the
picture's middle, in pixels of the clip measured), ITF (mean PSNR between neighbouring frames, dB; comparable
at equal crop only), crop (the share of the input's width that is left, by matched keypoints), and border (the
share of black at the edges).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from _camera import CameraPath, rms
from _job import Missing
from _media import open_input
from _passes import Tick

PACKAGES = {"cv2": "opencv-python-headless>=4.12", "matplotlib": "matplotlib>=3.10"}
CORNERS = 200
APART = 12  # corners stay a twelfth of the picture apart: spread points tell rotation from shift
CROP_SAMPLES = 15  # frames, spread over the clip
BLACK = 20  # luma at or below which a border counts as black
SEED = 1


@dataclass(frozen=True)
class Clip:
    """A clip to measure: the file, and the index of its video stream."""

    path: Path
    index: int


def check_packages() -> None:
    """Raise Missing, with the command that installs them, unless the report's packages are here."""
    absent = [needed for name, needed in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if absent:
        quoted = " ".join(f"'{needed}'" for needed in absent)
        raise Missing(f"the report needs packages that are not installed here; type: pip install {quoted}")


@dataclass(frozen=True)
class Figures:
    """What was measured on one clip: jitter in pixels, ITF in dB, border as a share (0-1) of the picture."""

    jitter_px: float
    itf_db: float
    border: float


def measure(path: Path, index: int = 0, pixels: int = 40_000_000) -> Figures:
    """Measure one clip: the video stream `index` of the file at `path`."""
    gauge = _Gauge()
    for picture in _frames(Clip(path, index), pixels):
        gauge.add(picture)
    return gauge.figures()


class Comparison:
    """The input and the result measured side by side. Iterate for progress; then `figures` is complete."""

    def __init__(self, clips: tuple[Clip, Clip], frames: int, pixels: int) -> None:
        self._clips, self._pixels = clips, pixels
        self._step = max(1, frames // CROP_SAMPLES)
        self._gauges = (_Gauge(), _Gauge())
        self._scales: list[float] = []

    def __iter__(self) -> Iterator[Tick]:
        pairs = zip(*(_frames(clip, self._pixels) for clip in self._clips), strict=False)
        for number, pair in enumerate(pairs):
            for gauge, picture in zip(self._gauges, pair, strict=True):
                gauge.add(picture)
            if number % self._step == 0:
                self._scales += _scales(*pair)
            yield Tick(number + 1, 0.0)

    @property
    def figures(self) -> dict[str, Any]:
        """Jitter, ITF and border before and after, and the crop ratio (None when it cannot be told)."""
        before, after = (asdict(gauge.figures()) for gauge in self._gauges)
        pairs = {name: {"before": before[name], "after": after[name]} for name in before}
        return {**pairs, "crop": round(median(self._scales), 4) if self._scales else None}


def draw(path: CameraPath, smoothed: CameraPath, figures: dict[str, Any], target: Path) -> Path:
    """Draw x, y and angle of the path as filmed and as smoothed, under the figures. Returns `target`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(figures), fontsize=10)
    axes = figure.subplots(3, 1, sharex=True)
    rows = (("x (px)", path.x, smoothed.x), ("y (px)", path.y, smoothed.y), ("angle (rad)", path.angle, smoothed.angle))
    for axis, (label, filmed, steady) in zip(axes, rows, strict=True):
        axis.plot(filmed, linewidth=0.8, label="as filmed")
        axis.plot(steady, linewidth=1.2, label="smoothed")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend(loc="upper right")
    axes[2].set_xlabel("frame")
    figure.savefig(target, dpi=100, metadata={"Software": None})
    return target


def _title(figures: dict[str, Any]) -> str:
    names = (("jitter_px", "jitter", "px"), ("itf_db", "ITF", "dB"), ("border", "black border", "of the picture"))
    pairs = (f"{label} {figures[key]['before']} → {figures[key]['after']} {unit}" for key, label, unit in names)
    return ", ".join((*pairs, f"crop {figures['crop']}"))


class _Gauge:
    """Figures of one clip, gathered frame by frame."""

    def __init__(self) -> None:
        self._last: Any = None
        self._motions: list[tuple[float, float]] = []
        self._psnrs: list[float] = []
        self._borders: list[float] = []

    def add(self, picture: Any) -> None:
        import cv2

        if self._last is not None:
            self._motions.append(_motion(self._last, picture))
            self._psnrs.append(float(cv2.PSNR(self._last, picture)))
        self._borders.append(_border(picture))
        self._last = picture

    def figures(self) -> Figures:
        changes = [math.dist(motion, last) for last, motion in pairwise(self._motions)]
        psnr = fmean(self._psnrs) if self._psnrs else math.inf
        return Figures(round(rms(changes), 3), round(psnr, 2), round(fmean(self._borders), 4))


def _frames(clip: Clip, pixels: int) -> Iterator[Any]:
    """The luma of every frame, rotated as shown, cut to even size."""
    with open_input(clip.path, pixels) as container:
        stream = container.streams[clip.index]
        stream.codec_context.thread_type = "AUTO"
        for frame in container.decode(stream):
            yield _upright(frame)


def _upright(frame: Any) -> Any:
    import numpy

    picture = numpy.rot90(frame.to_ndarray(format="gray"), round(frame.rotation / 90))
    height, width = picture.shape
    return numpy.ascontiguousarray(picture[: height // 2 * 2, : width // 2 * 2])


def _motion(before: Any, after: Any) -> tuple[float, float]:
    """How far the middle of the picture moved, in pixels."""
    matrix = _similarity(before, after)
    if matrix is None:
        return 0.0, 0.0
    height, width = before.shape
    x, y = width / 2, height / 2
    moved = matrix @ (x, y, 1)
    return float(moved[0] - x), float(moved[1] - y)


def _similarity(before: Any, after: Any) -> Any:
    import cv2

    found, kept = _matches(before, after)
    if len(found) < 3:
        return None
    cv2.setRNGSeed(SEED)
    return cv2.estimateAffinePartial2D(found, kept)[0]


def _matches(before: Any, after: Any) -> tuple[Any, Any]:
    import cv2

    points = cv2.goodFeaturesToTrack(before, CORNERS, 0.01, min(before.shape) / APART)
    if points is None:
        return (), ()
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None)
    good = status.ravel() == 1
    return points[good], moved[good]


def _border(picture: Any) -> float:
    """Share of the rows and columns at the edges that are black from end to end."""
    rows, columns = (picture > BLACK).any(axis=1), (picture > BLACK).any(axis=0)
    if not rows.any():
        return 1.0
    height, width = picture.shape
    inside = (height - rows.argmax() - rows[::-1].argmax()) * (width - columns.argmax() - columns[::-1].argmax())
    return 1 - float(inside) / (height * width)


def _scales(before: Any, after: Any) -> Iterator[float]:
    """The share of `before`'s width that `after` shows, if it can be told."""
    import cv2

    found = _keypoint_matches(before, after)
    if found is None:
        return
    cv2.setRNGSeed(SEED)
    matrix, _ = cv2.estimateAffinePartial2D(*found, ransacReprojThreshold=2.0)
    if matrix is not None:
        yield 1 / math.hypot(matrix[0, 0], matrix[1, 0])


def _keypoint_matches(before: Any, after: Any) -> tuple[Any, Any] | None:
    import cv2
    import numpy

    orb = cv2.ORB_create(1000)
    (here, first), (there, second) = orb.detectAndCompute(before, None), orb.detectAndCompute(after, None)
    if first is None or second is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(first, second)
    if len(matches) < 8:
        return None
    return (
        numpy.float32([here[match.queryIdx].pt for match in matches]),
        numpy.float32([there[match.trainIdx].pt for match in matches]),
    )
