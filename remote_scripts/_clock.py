"""How far an enlargement is, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence

from _job import Item, Job

EVENT_SECONDS = 0.5
FIRST_FRAMES = 3  # after that many, how long it will take is told
PATIENCE = 5.0  # seconds; or then, if anything is done by then
DAY = 86_400


class Clock:
    """Tells how far an item is, and once, from its first frames, how long it will take.

    `frames` says of each segment how many it has, and `seconds` how long they are shown (0: a photo); the segments in
    `earlier` are done. Time counts from when the first frame is begun: to find it may have taken long.
    """

    def __init__(
        self, job: Job, item: Item, frames: Sequence[int], seconds: float = 0.0, earlier: Container[int] = ()
    ) -> None:
        self._job, self._item, self._frames, self._seconds, self._earlier = job, item, frames, seconds, earlier
        self._shares = [0.0] * len(frames)
        self._made = self._before = 0.0  # frames, by this attempt and by earlier ones
        self._start: float | None = None
        self._last, self._told = 0.0, False

    def __call__(self, number: int, share: float) -> None:
        """Take note that a `share` (0-1) of a segment is done; of one that is begun, that none is."""
        more = (share - self._shares[number]) * self._frames[number]
        self._shares[number] = share
        if number in self._earlier:
            self._before += more
        else:
            self._start = self._start or time.monotonic()
            self._made += more
        self._tell(round(self._made, 9), round(self._made + self._before, 9), sum(self._frames))

    def _tell(self, made: float, count: float, total: int) -> None:
        elapsed = time.monotonic() - self._start if self._start else 0.0
        left = (total - count) * elapsed / made if made else 0.0
        if made and elapsed and not self._told and (made >= min(FIRST_FRAMES, total) or elapsed > PATIENCE):
            self._told = True
            if self._seconds or left:
                self._job.log(self._item, outlook(elapsed / made, left, total))
        if count == total or elapsed - self._last > EVENT_SECONDS:
            self._last = elapsed
            speed = made / total * self._seconds / elapsed if elapsed else 0.0
            self._job.progress(self._item, 0.99 * count / total, speed, left)


def outlook(seconds: float, left: float, frames: int) -> str:
    """A sentence on how long it takes, where each of some `frames` takes so many seconds, and all that are left `left`.

    What takes more than a day is told how to be quicker.
    """
    pace = f"{seconds:.2g} s a frame" if seconds >= 0.1 else f"{1 / seconds:.0f} frames a second"
    text = f"at {pace}, this takes about {_duration(left)}" if frames > 1 else f"this takes about {_duration(left)}"
    if left <= DAY:
        return text
    return f"{text}: take a machine with a GPU (--on NAME), or the quicker --model realesr-animevideov3"


def _duration(seconds: float) -> str:
    for unit, length in (("days", DAY), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
