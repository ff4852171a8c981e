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

Where memory ran out the tiles are half as large (in place of whole pictures there are some), and the second time the
GPU is done without. A network enlarges by a scale of its own: any other size is reached from there by Lanczos.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import cast

import _esrgan
import _ffmpeg
import _film
import _join
import _passes
import _splice
import _stills
import _timetable
import _torch
import _tracks
import _x264
import av
import PIL
from _clips import check_colour, check_length, check_room, check_whole, notes, workplace
from _clock import Clock
from _job import BadInput, Item, ItemError, Job, LimitExceeded, Result, run, sha256
from _media import Media, check_seconds, probe
from _memory import check_memory
from _segments import usable, work_through
from _tiles import Enlarger

LARGER = 16  # times as many pixels as a picture may have, its result may: four times as wide and as high
SMALLER = 256  # pixels of a tile's side, where memory ran out over a whole picture
LONGEST = 16_384  # pixels of a side, which x264 does not exceed
BITS_PER_PIXEL = 0.15  # of the result at crf 18
COPIES = 3  # of the picture on the disk at the end: pieces, joined, result


class NoMemory(ItemError):
    """Memory ran out; another attempt takes less at a time."""

    kind = "memory"


def upscale(job: Job, item: Item) -> Result:
    """Enlarge one input."""
    try:
        return _upscaled(job, item)
    except MemoryError as error:
        raise NoMemory(
            "memory ran out where the job runs; ask for less, with --scale or --height, or take smaller tiles, as in"
            " --tile 128"
        ) from error


@_torch.needing("upscale")
def _upscaled(job: Job, item: Item) -> Result:
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
    tile = (params["tile"] // 2 or SMALLER) if job.ease else params["tile"]
    if job.ease:
        job.log(job.items[0], f"memory ran out, so the tiles are smaller now: {tile} pixels a side")
    job.emit("versions", versions=_versions(device, network, tile))
    return Enlarger(network, tile, params["scale"], params["width"], params["height"])


def _still(job: Job, item: Item, enlarger: Enlarger, kind: str) -> Result:
    photo = _stills.read(item.input, kind, int(job.limits["pixels"]))
    suffix = item.options["suffix"]
    size = enlarger.size(*photo.size)
    lost = _stills.check_target(suffix, photo, size)
    _check_larger(size, LARGER * int(job.limits["pixels"]))
    check_memory(_stills.memory(photo, enlarger, suffix), size)
    for note in filter(None, (photo.note, lost)):
        job.log(item, note)
    larger = _seen_through(_stills.enlarged(photo, enlarger), Clock(job, item, [1]))
    path = _stills.write(larger, item.out / f"upscaled{suffix}")
    return Result((path,), {"from": list(photo.size), "to": list(larger.size), "frames": 1})


def _seen_through(work: Generator[float, None, _stills.Photo], clock: Clock) -> _stills.Photo:
    """What a piece of work makes that yields the share that is done."""
    clock(0, 0.0)
    try:
        while True:
            clock(0, next(work))
    except StopIteration as end:
        return cast(_stills.Photo, end.value)


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
        encoder = _x264.memory(job.params["preset"], film.size)
        check_memory(enlarger.memory(times.width, times.height) + encoder, film.size)
        for note in (*notes(media, "enlarged"), *tracks.notes):
            job.log(item, note)
        with closing(film):
            pieces = _enlarged(job, item, film, times)
        return _joined(item, pieces, media, tracks, times, folder, film.size, pixels)


def _enlarged(job: Job, item: Item, film: _film.Film, times: _timetable.Timetable) -> list[Path]:
    """The piece of each segment, made now or by an earlier attempt."""
    segments = film.segments(_weights(job))
    item = usable(job, item, segments, film.owns)
    fit = {one for one in segments if one.name in item.checkpoints}
    lengths = [stop - start for start, stop in (times.span(one.number) for one in segments)]
    done = sum(lengths[one.number] for one in fit)
    if fit and len(fit) < len(segments):
        job.log(item, f"{done} of {len(times.stamps)} frames are done already; the clip is read to where it goes on")
    clock = Clock(job, item, lengths, times.seconds, {one.number for one in fit})
    return work_through(job, item, segments, film.make, 1, clock)


@functools.cache
def _weights(job: Job) -> list[str]:
    """The checksums of the models' files."""
    return [sha256(path) for folder in job.models.values() for path in sorted(folder.glob("*"))]


def _looked_through(job: Job, item: Item, media: Media, tracks: _ffmpeg.Tracks, folder: Path) -> _timetable.Timetable:
    """Decode the whole clip once: what is damaged is told now, and not after hours of work."""
    look = _passes.Pass(_film.watch(media, tracks, int(job.limits["pixels"])), folder)
    for tick in look:
        check_seconds(tick.seconds, job.limits["seconds"])
    times = _timetable.timetable(folder, media, int(job.limits["pixels"]))
    _check_whole(media, look.tally, len(times.stamps))
    return times


def _joined(
    item: Item,
    pieces: list[Path],
    media: Media,
    tracks: _ffmpeg.Tracks,
    times: _timetable.Timetable,
    folder: Path,
    size: tuple[int, int],
    pixels: int,
) -> Result:
    stamps = [stamp - times.stamps[0] for stamp in times.stamps]
    _join.join(pieces, stamps, times.last, times.unit, folder)
    name = f"upscaled.{tracks.container}"
    limit = max(pixels, math.prod(size))
    start = times.stamps[0] * times.unit
    for _ in _passes.Pass(_splice.assemble(media, tracks, limit, start, times.rate, name), folder):
        pass
    measured = {"from": [times.width, times.height], "to": list(size), "frames": len(times.stamps)}
    return Result(((folder / name).replace(item.out / name),), measured | {"seconds": round(times.seconds, 3)})


def _check_whole(media: Media, tally: _passes.Tally, found: int) -> None:
    check_whole(media, tally)
    if not tally.decoded == tally.encoded == found or not found:
        raise ItemError(f"frames were lost: {tally.decoded} decoded, {tally.encoded} watched, {found} written down")


def _check_larger(size: tuple[int, int], limit: int) -> None:
    if math.prod(size) > limit:
        raise LimitExceeded(
            f"the result would be a picture of {size[0]}x{size[1]}, over the limit of {limit} pixels;"
            " ask for less, with --scale or --height, or set OFFLOAD_MAX_PIXELS to allow it"
        )


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
