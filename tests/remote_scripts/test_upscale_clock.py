"""Upscale tells how far it is, and how long it will take: at the pace of this attempt, and early."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from .runs import part
from .upscaled import quickly

clock = part("_clock")


class Told:
    """A job that notes what it tells."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.seen: list[tuple[float, float, float]] = []

    def log(self, item: Any, message: str) -> None:
        self.said.append(message)

    def progress(self, item: Any, fraction: float, speed: float, left: float) -> None:
        self.seen.append((round(fraction / 0.99, 4), round(speed, 4), round(left, 2)))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time, to be set."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_of_a_photo_it_is_told_after_its_first_tile(at: Any) -> None:
    job = Told()
    tell = clock.Clock(job, None, [1])
    tell(0, 0.0)
    at.seconds += 35
    tell(0, 1 / 183)
    assert job.said == ["this takes about 1.8 hours"]
    assert job.seen == [(0.0055, 0.0, 6370.0)]
    at.seconds += 35
    tell(0, 2 / 183)
    assert len(job.said) == 1


def test_of_a_photo_that_is_done_at_once_nothing_is_said(at: Any) -> None:
    job = Told()
    tell = clock.Clock(job, None, [1])
    tell(0, 0.0)
    at.seconds += 0.1
    tell(0, 1.0)
    assert (job.said, [fraction for fraction, *_ in job.seen]) == ([], [1.0])


def test_what_an_earlier_attempt_did_and_the_way_there_make_nobody_faster_or_slower(at: Any) -> None:
    job = Told()
    tell = clock.Clock(job, None, [48, 48, 48], 5.76, {0, 1})
    tell(0, 1.0)
    tell(1, 1.0)
    at.seconds += 1000  # the clip is read up to the third segment
    for frame in range(5):
        tell(2, frame / 48)
        at.seconds += 2
    assert job.said == ["at 2 s a frame, this takes about 1.5 minutes"]
    assert job.seen[-1] == (round(100 / 144, 4), 0.02, 88.0)


def test_of_slow_frames_it_is_told_before_the_first_is_done(at: Any) -> None:
    job = Told()
    tell = clock.Clock(job, None, [100], 4.0)
    tell(0, 0.0)
    at.seconds += 60
    tell(0, 0.1 / 100)
    assert job.said == ["at 6e+02 s a frame, this takes about 17 hours"]


def test_a_photo_in_tiles_tells_how_far_it_is(tmp_path: Path) -> None:
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "photo.png")
    run = quickly(tmp_path / "job", tmp_path / "photo.png", tile=32, before="import _clock; _clock.EVENT_SECONDS = 0")
    shares = [event["fraction"] for event in run.of("progress")]
    assert len(shares) == 1 + 8 * 8
    assert shares == sorted(shares)
    assert shares[-1] == 0.99
