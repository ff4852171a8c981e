# /// script
# requires-python = ">=3.11"
# dependencies = ["av==18.1.0", "ffmpeg-python==0.2.0", "imageio-ffmpeg==0.8.1"]
#
# [tool.offload.extras]
# report = ["matplotlib>=3.10", "opencv-python-headless>=4.12"]
# ///
"""Steady a shaky video in two passes of vid.stab.

    params:  smoothing (frames to each side), shakiness (1-10), zoom ("auto" or percent), crf, preset,
             fast (analyse at half size), to_sdr (tone-map HDR, cut 10 bits to 8), report (draw `report.png`)
    limits:  pixels (in a frame), seconds (of a clip)
    options: container (mp4, mov or mkv)
    output:  stabilized.<container>, and report.png when asked for

The figures in `measured` come from vid.stab's own motions: jitter is that of the camera's path before
and after smoothing, in pixels of the input.
"""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _camera
import _cut
import _ffmpeg
import _passes
import _report
import _tracks
import av
from _clips import check_colour, check_length, check_room, check_whole, notes, workplace
from _job import BadInput, Item, ItemError, Job, Result, run
from _media import Media, check_seconds, probe
from _segmented import InOnePiece, Progress, Segmented

# Where the detector, the encoder and the report end, as shares of the time at preset medium.
STAGES, REPORT_STAGES = (0.2, 1.0), (0.1, 0.5, 1.0)
EVENT_SECONDS = 0.5
BITS_PER_PIXEL = 0.2  # of the result at crf 18; real handheld footage takes 0.1 to 0.5, halved by every 6 more
TRANSFORM_BYTES = 8000  # of the .trf, a frame


def stabilize(job: Job, item: Item) -> Result:
    """Steady one input."""
    first = item is job.items[0]
    if first:
        # Hashing ffmpeg takes a moment that the first pass, busy on less than two cores, does not notice.
        threading.Thread(target=_ffmpeg.versions, daemon=True).start()
    try:
        return _steady(job, item)
    finally:
        if first:
            job.emit("versions", versions=_versions())


def _steady(job: Job, item: Item) -> Result:
    _ffmpeg.executable()
    if job.params["report"]:
        _report.check_packages()
    with workplace(item) as folder:
        media = probe(folder / _ffmpeg.SOURCE, int(job.limits["pixels"]), job.limits["seconds"])
        check_length(item.input)
        check_colour(media, job.params["to_sdr"])
        tracks = _tracks.choose(media, item.options["container"])
        _check_disk(media, folder, float(job.params["crf"]))
        for note in (*notes(media, "steadied"), *tracks.notes):
            job.log(item, note)
        files, measured = _two_passes(job, item, folder, media, tracks)
        return Result(files, measured)


@dataclass(frozen=True)
class Steadied:
    """A finished clip, in the item's folder, and the path of its camera before and after."""

    video: Path
    frames: int
    seconds: float
    filmed: _camera.CameraPath
    steady: _camera.CameraPath
    halved: bool = False


def _two_passes(
    job: Job, item: Item, folder: Path, media: Media, tracks: _ffmpeg.Tracks
) -> tuple[tuple[Path, ...], dict[str, Any]]:
    meter = Meter(job, item, media)
    done = _in_segments(job, item, folder, media, tracks, meter) or _in_one(job, item, folder, media, tracks, meter)
    measured = _measured(media, done, job.params["zoom"])
    results = [done.video.replace(item.out / done.video.name)]
    if job.params["report"]:
        pixels = int(job.limits["pixels"])
        clips = _report.Clip(folder / _ffmpeg.SOURCE, media.index), _report.Clip(results[0], 0)
        comparison = _report.Comparison(clips, measured["frames"], pixels)
        meter.follow(comparison, measured["frames"], 1.0)
        measured["decoded"] = comparison.figures
        results.append(_report.draw(done.filmed, done.steady, comparison.figures, item.out / "report.png"))
    return tuple(results), measured


def _in_one(job: Job, item: Item, folder: Path, media: Media, tracks: _ffmpeg.Tracks, meter: Meter) -> Steadied:
    name, pixels, stages = f"stabilized.{tracks.container}", int(job.limits["pixels"]), _stages(job)
    detect = _passes.Pass(_ffmpeg.detect(media, job.params, pixels), folder)
    seconds = meter.follow(detect, media.frames, stages[0])
    _check_whole(media, detect.tally, _camera.count_frames(folder / _ffmpeg.TRANSFORMS))
    _tell_hidden(job, item, media, detect.tally)
    transform = _passes.Pass(_ffmpeg.transform(media, job.params, pixels, tracks, name), folder)
    meter.follow(transform, detect.tally.encoded, stages[1])
    _check_same(detect.tally, transform.tally)
    filmed = _camera.read_path(folder / _ffmpeg.MOTIONS)
    steady = _camera.smooth(filmed, int(job.params["smoothing"]))
    return Steadied(folder / name, transform.tally.encoded, seconds, filmed, steady)


def _in_segments(
    job: Job, item: Item, folder: Path, media: Media, tracks: _ffmpeg.Tracks, meter: Meter
) -> Steadied | None:
    """Do a long clip in segments, or a short one that is to be fast; None when it can't be, or need not."""
    index, fast = _cut.read_index(folder / _ffmpeg.SOURCE, media, int(job.limits["pixels"])), job.params.get("fast")
    if index is None or (_cut.count(index) == 1 and not fast):
        if fast:
            job.log(item, "analysed at full size all the same: a clip like this cannot be read exactly in parts")
        return None
    work, stages = Segmented(job, item, media, index, folder), _stages(job)
    try:
        found = work.watch(meter.stage(0, stages[0]))
        tally = found.watched.tally
        _check_whole(media, tally, tally.encoded)
        _tell_hidden(job, item, media, tally)
        steady = _camera.smooth(found.filmed, int(job.params["smoothing"]))
        zoom = _zoom(media, found.filmed, steady, job.params["zoom"])
        video = work.encode(found, steady, zoom, tracks, meter.stage(*stages[:2]))
    except InOnePiece as reason:
        job.log(item, f"done in one piece, not in segments: {reason}")
        return None
    meter.tell(stages[1])
    seconds = float((found.watched.times[-1] + index.last - index.begins) * index.tick)
    return Steadied(video, tally.encoded, seconds, found.filmed, steady, bool(fast))


def _stages(job: Job) -> tuple[float, ...]:
    return REPORT_STAGES if job.params["report"] else STAGES


class Meter:
    """Makes one 0-1 progress out of both passes, at most two events a second."""

    def __init__(self, job: Job, item: Item, media: Media) -> None:
        self._job, self._item = job, item
        self._length, self._limit = media.seconds, job.limits["seconds"]
        self._start = time.monotonic()
        self._last = -EVENT_SECONDS
        self._fraction = self._earlier = 0.0

    def follow(self, ticks: Iterable[_passes.Tick], frames: int, stop: float) -> float:
        """See a stage of about `frames` through, up to `stop` (0-1); returns the seconds of the clip it covered."""
        start, seconds = self._fraction, 0.0
        for tick in ticks:
            seconds = tick.seconds
            check_seconds(seconds, self._limit)
            share = min(1.0, tick.frame / frames) if frames else 0.0
            self.tell(start + share * (stop - start))
        self._fraction = max(self._fraction, stop)
        return seconds

    def stage(self, start: float, stop: float) -> Progress:
        """What tells of a stage from `start` to `stop` (0-1): by the share of it that is done, and that was already."""
        before = self._earlier

        def tell(share: float, earlier: float) -> None:
            self._earlier = before + earlier * (stop - start)
            self.tell(start + share * (stop - start))

        return tell

    def tell(self, fraction: float) -> None:
        """Report that `fraction` (0-1) of the whole is done, if it is time to."""
        elapsed = time.monotonic() - self._start
        if fraction < 1 and elapsed - self._last < EVENT_SECONDS:
            return
        self._last, self._fraction = elapsed, max(self._fraction, fraction)
        rate = (self._fraction - self._earlier) / max(elapsed, 1e-3)
        left = (1 - self._fraction) / rate if rate else 0.0
        self._job.progress(self._item, self._fraction, speed=rate * self._length, eta=left)


def _check_disk(media: Media, folder: Path, crf: float) -> None:
    video = media.frames * media.width * media.height * BITS_PER_PIXEL / 8 * 2 ** ((18 - crf) / 6)
    # In segments the video is there three times at the end: as pieces, joined, and with the other tracks.
    needed = video * (3 if media.seconds >= _cut.LEAST_SECONDS else 1) + media.frames * TRANSFORM_BYTES
    check_room(folder, needed)


def _check_whole(media: Media, tally: _passes.Tally, found: int) -> None:
    check_whole(media, tally)
    if tally.encoded < 2:
        raise BadInput("the input has only one frame, so there is no motion to steady")
    if not tally.decoded == tally.encoded == found:
        raise ItemError(f"frames were lost: {tally.decoded} decoded, {tally.encoded} watched, {found} recorded")


def _tell_hidden(job: Job, item: Item, media: Media, tally: _passes.Tally) -> None:
    hidden = tally.packets - tally.decoded - media.lead
    if hidden > 0:
        job.log(item, f"{hidden} of {tally.packets} packets show no picture (hidden, or cut by an edit list)")


def _check_same(first: _passes.Tally, second: _passes.Tally) -> None:
    if first != second:
        raise ItemError(f"the two passes saw different frames: {first}, then {second}")


def _zoom(media: Media, filmed: _camera.CameraPath, steady: _camera.CameraPath, zoom: str | float) -> float:
    return _camera.optimal_zoom(filmed, steady, media.width, media.height) if zoom == "auto" else float(zoom)


def _measured(media: Media, done: Steadied, zoom: str | float) -> dict[str, Any]:
    percent = _zoom(media, done.filmed, done.steady, zoom)
    return {
        "frames": done.frames,
        "seconds": round(done.seconds, 3),
        "width": media.width,
        "height": media.height,
        "jitter_px": {"before": round(_camera.jitter(done.filmed), 3), "after": round(_camera.jitter(done.steady), 3)},
        "zoom_percent": round(percent, 3),
        "crop": round(1 / (1 + percent / 100), 4),
        **({"analysed": "half size"} if done.halved else {}),
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "av": av.__version__,
        **_ffmpeg.versions(),
        "platform": platform.platform(),
    }


if __name__ == "__main__":
    sys.exit(run(stabilize))
