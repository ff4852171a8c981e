"""Stabilise makes a shaky clip steady, and says truly by how much."""

from __future__ import annotations

import math
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests import media

from .runs import Run, part, stabilize, wrapped_ffmpeg


@pytest.fixture(scope="session")
def steadied(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("steadied")
    return stabilize(folder / "job", media.clip(folder / "clip.mp4", 3, (320, 240)))


def filmed_jitter(frames: int) -> float:
    path = [media.shake(number) for number in range(frames)]
    motion = [(x - u, y - v) for (u, v), (x, y) in pairwise(path)]
    return math.sqrt(sum(math.dist(b, a) ** 2 for a, b in pairwise(motion)) / (len(motion) - 1))


def test_the_jitter_before_is_that_of_the_camera(steadied: Run) -> None:
    assert steadied.done()["measured"]["jitter_px"]["before"] == pytest.approx(filmed_jitter(75), rel=0.05)


def test_the_jitter_after_is_a_tenth_or_less(steadied: Run) -> None:
    jitter = steadied.done()["measured"]["jitter_px"]
    assert jitter["after"] < jitter["before"] / 10


def test_the_decoded_picture_is_as_steady_as_the_figure_says(steadied: Run) -> None:
    before, after = pixels_that_change(steadied.folder / "in/0.mp4"), pixels_that_change(steadied.output())
    assert after < before / 10


def pixels_that_change(path: Path) -> float:
    """Mean square difference of luma between neighbouring frames."""
    lines = media.ffmpeg("-i", path, "-vf", "tblend=all_mode=difference,signalstats,metadata=print", "-f", "null", "-")
    values = [float(value) for value in re.findall(r"YAVG=([\d.]+)", lines)]
    return sum(value**2 for value in values) / len(values)


def test_every_frame_is_there_and_counted(steadied: Run) -> None:
    measured = steadied.done()["measured"]
    assert (measured["frames"], measured["seconds"], measured["width"], measured["height"]) == (75, 3.0, 320, 240)


def test_path_and_zoom_are_those_vidstab_computed(steadied: Run, tmp_path: Path) -> None:
    clip, filters = steadied.folder / "in/0.mp4", "smoothing=30:optalgo=gauss:optzoom=1"
    media.ffmpeg("-i", clip, "-vf", "vidstabdetect=fileformat=ascii", "-f", "null", "-", cwd=tmp_path)
    log = media.ffmpeg(
        "-v", "verbose", "-i", clip, "-vf", f"vidstabtransform={filters}:debug=1", "-f", "null", "-", cwd=tmp_path
    )
    camera = part("_camera")
    smoothed = camera.smooth(camera.read_path(tmp_path / "global_motions.trf"), 30)
    theirs = re.findall(r"avg: ([-\d.]+), ([-\d.]+), ([-\d.]+) extra", log)
    assert [tuple(map(float, row)) for row in theirs] == [
        pytest.approx(row, abs=1e-4) for row in zip(smoothed.x, smoothed.y, smoothed.angle, strict=True)
    ]
    (zoom,) = re.findall(r"Final zoom: ([\d.]+)", log)
    assert steadied.done()["measured"]["zoom_percent"] == pytest.approx(float(zoom), abs=1e-3)


def test_a_steady_clip_stays_as_it_is(tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", media.clip(tmp_path / "still.mp4", 1, steady=True))
    measured = run.done()["measured"]
    assert measured["jitter_px"] == {"before": 0.0, "after": 0.0}
    assert measured["crop"] == 1.0


def test_smoothing_and_zoom_are_used(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4")
    gentle = stabilize(tmp_path / "gentle", clip, smoothing=2, zoom=5).done()["measured"]
    still = stabilize(tmp_path / "still", clip, smoothing=0, zoom=0).done()["measured"]
    assert gentle["jitter_px"]["after"] > 1
    assert still["jitter_px"]["after"] == 0
    assert (gentle["zoom_percent"], gentle["crop"]) == (5.0, pytest.approx(1 / 1.05, abs=1e-4))
    assert still["crop"] == 1.0


def test_progress_runs_once_from_0_to_1_over_both_passes(tmp_path: Path) -> None:
    slow = wrapped_ffmpeg(tmp_path, "-readrate 3 -readrate_initial_burst 0.1")
    clip = media.clip(tmp_path / "clip.mkv", 3)
    begun = time.monotonic()
    run = stabilize(tmp_path / "job", clip, env={"IMAGEIO_FFMPEG_EXE": str(slow)})
    took = time.monotonic() - begun
    events = run.of("progress")
    fractions = [event["fraction"] for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(0 < fraction < 0.2 for fraction in fractions)
    assert any(0.2 < fraction < 1 for fraction in fractions)
    # 3 s of footage read at 3x take 1 s a pass: 2 s or more, 2 events a second, the first and the last one.
    assert 3 <= len(fractions) <= 2 * took + 2
    assert all(event["eta"] >= 0 for event in events)
    assert any(event["speed"] > 0 for event in events)


def test_versions_name_everything_that_decides_bytes(steadied: Run) -> None:
    (event,) = [event for event in steadied.events if event["type"] == "versions"]
    versions = event["versions"]
    assert set(versions) == {"python", "av", "ffmpeg", "ffmpeg_sha256", "platform"}
    assert versions["av"] == "18.1.0"
    assert versions["ffmpeg"].startswith("ffmpeg version")
    assert re.fullmatch("[0-9a-f]{64}", versions["ffmpeg_sha256"])


def test_nothing_is_left_but_the_result(steadied: Run) -> None:
    assert steadied.status == 0
    assert {path.name for path in steadied.folder.iterdir()} == {"job.json", "in", "out"}
    assert [path.name for path in (steadied.folder / "out/0").iterdir()] == ["stabilized.mp4"]
