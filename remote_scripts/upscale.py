# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "av==18.1.0",
#     "ffmpeg-python==0.2.0",
#     "imageio-ffmpeg==0.8.1",
#     "numpy>=2,<3",
#     "pillow==13.0.0",
#     "spandrel==0.4.2",
#     "torch>=2.10,<3",
#     "torchvision>=0.25",
# ]
#
# [tool.offload]
# take-from-target = ["torch"]
# ///
"""Enlarge a photo or a clip with a network such as Real-ESRGAN.

    params:  model (its name, for the result), scale (2 to 4), width and height (of the result, in place of the scale; a
             height alone keeps the shape), denoise (0-1, or null; with the model `denoise`), tile (pixels of a side; 0:
             whole pictures), fp16, threads (0: all cores but one), crf, preset, to_sdr (clips only, as in stabilize.py)
    limits:  pixels (in a frame), seconds (of a clip)
    options: suffix (.mp4, .mov, .mkv, .png, .jpg, .jpeg or .webp)
    models:  model, and denoise: what it is mixed with
    output:  upscaled<suffix>

Where memory ran out the tiles are half as large, and the second time the GPU is done without. A network enlarges by a
scale of its own: any other size is reached from there by Lanczos.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from contextlib import closing
from pathlib import Path

import _esrgan
import _ffmpeg
import _film
import _splice
import _stills
import _torch
import _tracks
import av
import PIL
from _clips import check_colour, check_length, check_room, check_whole, notes, workplace
from _job import BadInput, Item, ItemError, Job, Result, run
from _media import Media, check_seconds, probe
from _segments import work_through
from _tiles import Enlarger

EVENT_SECONDS = 0.5
FIRST_FRAMES = 3  # after that many, how long it will take is told
DAY = 86_400
LONGEST = 16_384  # pixels of a side, which x264 does not exceed
BITS_PER_PIXEL = 0.15  # of the result at crf 18
COPIES = 3  # of the picture on the disk at the end: pieces, joined, result


@_torch.needing("upscale")
def upscale(job: Job, item: Item) -> Result:
    """Enlarge one input."""
    enlarger = _enlarger(job)
    kind = _stills.picture_format(item.input) if item.input.is_file() else ""
    return _still(job, item, enlarger, kind) if kind else _clip(job, item, enlarger)


@functools.cache  # the network is loaded once, however many items there are
def _enlarger(job: Job) -> Enlarger:
    params = job.params
    device = _torch.ready(params["threads"], job.ease)
    denoise = {} if params["denoise"] is None else {"other": job.models["denoise"], "share": params["denoise"]}
    network = _esrgan.load(job.models["model"], device, params["fp16"], **denoise)
    if params["fp16"] and not network.half:
        job.log(job.items[0], "computed in fp32: only a GPU is faster in fp16")
    tile = params["tile"] // (2 if job.ease else 1)
    if job.ease and params["tile"]:
        job.log(job.items[0], f"memory ran out, so the tiles are smaller now: {tile} pixels a side")
    job.emit("versions", versions=_versions(device, network, tile))
    return Enlarger(network, tile, params["scale"], params["width"], params["height"])


def _still(job: Job, item: Item, enlarger: Enlarger, kind: str) -> Result:
    photo = _stills.read(item.input, kind, int(job.limits["pixels"]))
    suffix = item.options["suffix"]
    lost = _stills.check_target(suffix, photo, enlarger.size(*photo.size))
    for note in filter(None, (photo.note, lost)):
        job.log(item, note)
    larger = _stills.enlarged(photo, enlarger)
    path = _stills.write(larger, item.out / f"upscaled{suffix}")
    return Result((path,), {"from": list(photo.size), "to": list(larger.size), "frames": 1})


def _clip(job: Job, item: Item, enlarger: Enlarger) -> Result:
    container = item.options["suffix"].removeprefix(".")
    _ffmpeg.executable()
    with workplace(item) as folder:
        pixels = int(job.limits["pixels"])
        media = probe(folder / _ffmpeg.SOURCE, pixels, job.limits["seconds"])
        if container not in _ffmpeg.MUXERS:
            raise BadInput(f"the input is a video, which a .{container} file does not hold; use -o with a name in .mp4")
        check_length(item.input)
        check_colour(media, job.params["to_sdr"])
        tracks = _tracks.choose(media, container)
        times = _looked_through(job, item, media, tracks, folder)
        colour = _film.colour(folder, media, pixels)
        film = _film.Film(folder, media, times, colour, enlarger, job.params, pixels)
        _check_size(film.size, len(times.stamps), folder, float(job.params["crf"]))
        for note in (*notes(media, "enlarged"), *tracks.notes):
            job.log(item, note)
        with closing(film):
            pieces = work_through(job, item, times.segments, film.make, 1, Clock(job, item, times))
        return _joined(item, pieces, media, tracks, times, folder, film.size, pixels)


def _looked_through(job: Job, item: Item, media: Media, tracks: _ffmpeg.Tracks, folder: Path) -> _film.Timetable:
    """Decode the whole clip once: what is damaged is told now, and not after hours of work."""
    look = _ffmpeg.Pass(_film.watch(media, tracks, int(job.limits["pixels"])), folder)
    for tick in look:
        check_seconds(tick.seconds, job.limits["seconds"])
    times = _film.timetable(folder)
    _check_whole(media, look.tally, len(times.stamps))
    return times


def _joined(
    item: Item,
    pieces: list[Path],
    media: Media,
    tracks: _ffmpeg.Tracks,
    times: _film.Timetable,
    folder: Path,
    size: tuple[int, int],
    pixels: int,
) -> Result:
    _splice.join(pieces, times.stamps, times.last, times.unit, folder)
    name = f"upscaled.{tracks.container}"
    limit = max(pixels, math.prod(size))
    for _ in _ffmpeg.Pass(_splice.assemble(media, tracks, limit, times.stamps[0] * times.unit, name), folder):
        pass
    seconds = float((times.stamps[-1] + times.last - times.stamps[0]) * times.unit)
    measured = {"from": [times.width, times.height], "to": list(size), "frames": len(times.stamps)}
    return Result(((folder / name).replace(item.out / name),), measured | {"seconds": round(seconds, 3)})


class Clock:
    """Tells how far a clip is, and once, from its first frames, how long it will take."""

    def __init__(self, job: Job, item: Item, times: _film.Timetable) -> None:
        self._job, self._item, self._times = job, item, times
        self._earlier = {one.number for one in times.segments if one.name in item.checkpoints}
        self._shares: dict[int, float] = {}
        self._made = self._before = 0.0  # frames, by this attempt and by earlier ones
        self._start, self._last, self._told = time.monotonic(), 0.0, False
        self._length = float((times.stamps[-1] + times.last - times.stamps[0]) * times.unit)

    def __call__(self, number: int, share: float) -> None:
        """Take note that a `share` (0-1) of a segment is done."""
        start, stop = self._times.span(number)
        more = (share - self._shares.get(number, 0.0)) * (stop - start)
        if number in self._earlier:
            self._before += more
        else:
            self._made += more
        self._shares[number] = share
        self._tell(self._made, round(self._made + self._before, 6), len(self._times.stamps))

    def _tell(self, made: float, count: float, total: int) -> None:
        elapsed = time.monotonic() - self._start
        left = (total - count) * elapsed / made if made else 0.0
        if not self._told and made > min(FIRST_FRAMES, total) - 0.5:
            self._told = True
            self._job.log(self._item, _outlook(elapsed / made, left))
        if count == total or elapsed - self._last > EVENT_SECONDS:
            self._last = elapsed
            speed = made / total * self._length / elapsed if elapsed else 0.0
            self._job.progress(self._item, 0.99 * count / total, speed, left)


def _outlook(seconds: float, left: float) -> str:
    pace = f"{seconds:.2g} s a frame" if seconds >= 0.1 else f"{1 / seconds:.0f} frames a second"
    text = f"at {pace}, this takes about {_duration(left)}"
    if left <= DAY:
        return text
    return f"{text}: take a machine with a GPU (--on NAME), or the quicker --model realesr-animevideov3"


def _duration(seconds: float) -> str:
    for unit, length in (("days", DAY), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _check_whole(media: Media, tally: _ffmpeg.Tally, found: int) -> None:
    check_whole(media, tally)
    if not tally.decoded == tally.encoded == found or not found:
        raise ItemError(f"frames were lost: {tally.decoded} decoded, {tally.encoded} watched, {found} written down")


def _check_size(size: tuple[int, int], frames: int, folder: Path, crf: float) -> None:
    if max(size) > LONGEST:
        raise BadInput(f"a video of {size[0]}x{size[1]} is larger than H.264 can be; ask for less, as in --height 2160")
    needed = COPIES * frames * math.prod(size) * BITS_PER_PIXEL / 8 * 2 ** ((18 - crf) / 6)
    check_room(folder, needed)


def _versions(device: str, network: _esrgan.Network, tile: int) -> dict[str, str]:
    import spandrel

    return {
        **_torch.versions(device),
        "spandrel": spandrel.__version__,
        "precision": "fp16" if network.half else "fp32",
        "tile": str(tile),
        "pillow": PIL.__version__,
        "av": av.__version__,
        **_ffmpeg.versions(),
    }


if __name__ == "__main__":
    sys.exit(run(upscale))
