# /// script
# requires-python = ">=3.11"
# dependencies = ["av==18.1.0"]
# ///
"""Make of a video or a recording its sound alone: 16 kHz mono FLAC, which is all that is needed to hear words.

    params:  none
    limits:  pixels (in a frame, of whatever pictures are in the file), seconds (of sound)
    output:  sound.flac

It is the default track, else the first. A track that starts late, or has holes, is filled with silence, so that every
word keeps its time. Damage is refused: part of a talk must not pass for the whole.
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

import av
from _job import Item, Job, Result, run
from _media import check_seconds
from _sound import Flac, Track, open_track

NAME = "sound.flac"
EVENT_SECONDS = 0.5


def extract(job: Job, item: Item) -> Result:
    """Make the sound of one input."""
    draft = Path(f"{item.index}.{NAME}.tmp")
    try:
        seconds = _extract(job, item, draft)
        draft.replace(item.out / NAME)
    finally:
        draft.unlink(missing_ok=True)
    if item is job.items[0]:
        job.emit("versions", versions=_versions())
    return Result((item.out / NAME,), {"seconds": round(seconds, 3)})


def _extract(job: Job, item: Item, draft: Path) -> float:
    with open_track(item.input, int(job.limits["pixels"])) as track:
        check_seconds(track.seconds, job.limits["seconds"])
        with Flac(draft) as flac:
            _copy(job, item, track, flac)
            flac.end()
            track.check_whole()
            if track.cut_packet:
                job.log(item, "the input ends in the middle of a packet: what followed was lost before it came here")
            return flac.seconds


def _copy(job: Job, item: Item, track: Track, flac: Flac) -> None:
    start = last = time.monotonic()
    for piece in track.sound():
        flac.add(piece)
        check_seconds(flac.seconds, job.limits["seconds"])
        now = time.monotonic()
        if now - last >= EVENT_SECONDS:
            last, speed = now, flac.seconds / (now - start)
            left = max(0.0, track.seconds - flac.seconds)
            job.progress(item, min(1.0, flac.seconds / (flac.seconds + left)), speed, left / speed)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "av": av.__version__, "platform": platform.platform()}


if __name__ == "__main__":
    sys.exit(run(extract))
