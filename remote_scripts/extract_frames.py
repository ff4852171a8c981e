# /// script
# requires-python = ">=3.11"
# dependencies = ["av==18.1.0", "numpy>=2,<3", "pillow==13.0.0"]
# ///
"""Make of a clip or a picture the few small pictures that a model looks at.

    params:  frame (how large, see `_pictures`), and either fps (pictures a second) or count (evenly spaced)
    limits:  pixels (in a frame), seconds (of a clip)
    output:  frames.mov, see `_frames`

With `fps` there is a picture for each k / fps seconds: the frame shown then, which may be the same again. With `count`
the clip is cut into that many equal parts, and the frame shown in the middle of each is taken, once: a clip of fewer
frames gives fewer pictures. Times count from the clip's first frame; a still picture has the time 0.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import Any

import _frames
import _moments
import _pictures
import av
from _job import Item, Job, Result, run
from _media import Media, check_seconds, probe
from PIL import Image

EVENT_SECONDS = 0.5
AHEAD = 2  # frames that wait to be drawn: each is memory
Taker = Callable[..., Iterator[_moments.Shown]]
Draw = Callable[[av.VideoFrame], Image.Image]


def extract(job: Job, item: Item) -> Result:
    """Make the pictures of one input."""
    kind = _pictures.still_format(item.input) if item.input.is_file() else ""
    if kind:
        return _still(job, item, kind)
    pixels = int(job.limits["pixels"])
    media = probe(item.input, pixels, job.limits["seconds"])
    line = _moments.timeline(item.input, media, pixels)
    check_seconds(line.seconds, job.limits["seconds"])
    for note in _notes(media):
        job.log(item, note)
    times = moments(line, job.params)
    try:
        return _clip(job, item, media, line, times, _moments.shown)
    except _moments.Missed:
        return _clip(job, item, media, line, times, _moments.decoded)


def _still(job: Job, item: Item, kind: str) -> Result:
    picture = _pictures.still(item.input, kind, int(job.limits["pixels"]))
    with _frames.writing(item.out / _frames.NAME) as writer:
        writer.add(0.0, _pictures.fit(picture, picture.size, job.params["frame"]))
    return Result((item.out / _frames.NAME,), {"frames": 1, "seconds": 0.0})


def moments(line: _moments.Timeline, params: Mapping[str, Any]) -> dict[float, int]:
    """The times to take a picture at, in seconds, and the stamp of the frame shown then."""
    if "count" in params:
        count = int(params["count"])
        times = [round((part + 0.5) * line.seconds / count, 3) for part in range(count)]
        # A frame that is shown in the middle of two parts is taken for the first.
        return {next(same): stamp for stamp, same in groupby(times, key=line.at)}
    fps = float(params["fps"])
    # The last frame's length is often a guess, and never worth a picture of its own.
    return {round(k / fps, 3): line.at(k / fps) for k in range(max(1, math.ceil((line.seconds - 0.001) * fps)))}


def _clip(
    job: Job, item: Item, media: Media, line: _moments.Timeline, times: Mapping[float, int], take: Taker
) -> Result:
    pixels, wanted = int(job.limits["pixels"]), sorted(set(times.values()))
    frames = take(item.input, media, pixels, line, wanted)
    draw = partial(_pictures.from_frame, aspect=line.aspect, rule=job.params["frame"])
    when = {stamp: list(same) for stamp, same in groupby(times, key=lambda moment: times[moment])}
    told = time.monotonic()
    with _frames.writing(item.out / _frames.NAME) as writer:
        for stamp, picture in _drawn(frames, draw):
            for moment in when[stamp]:
                writer.add(moment, picture)
            if time.monotonic() - told > EVENT_SECONDS:
                told = time.monotonic()
                job.progress(item, writer.count / len(times))
    return Result((item.out / _frames.NAME,), {"frames": writer.count, "seconds": round(line.seconds, 3)})


def _drawn(frames: Iterator[_moments.Shown], draw: Draw) -> Iterator[tuple[int, Image.Image]]:
    """Stamp and picture of each frame, drawn while the next are decoded."""
    waiting: deque[tuple[int, Future[Image.Image]]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for stamp, frame in frames:
            waiting.append((stamp, pool.submit(draw, frame)))
            if len(waiting) > AHEAD:
                stamp, picture = waiting.popleft()
                yield stamp, picture.result()
        yield from ((stamp, picture.result()) for stamp, picture in waiting)


def _notes(media: Media) -> Iterator[str]:
    if media.lead:
        yield f"the input starts between keyframes: its first {media.lead} frames cannot be decoded and are left out"
    if media.hdr:
        yield f"looked at as 8-bit SDR; the input is {media.hdr}"


if __name__ == "__main__":
    sys.exit(run(extract))
