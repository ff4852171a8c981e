"""The report draws both paths, and measures on the pictures themselves that the clip is steadier."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image

from tests import media

from .runs import Run, part, stabilize

FOREST = Path(__file__).parents[2].parent / "shared/data/handheld-forest.mp4"


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("reported")
    clip, begun = media.clip(folder / "clip.mp4", 2, (320, 240)), time.monotonic()
    run = stabilize(folder / "job", clip, report=True)
    (folder / "took").write_text(f"{time.monotonic() - begun}")
    return run


def test_the_report_is_a_picture_beside_the_clip(reported: Run) -> None:
    assert [file["name"] for file in reported.done()["files"]] == ["stabilized.mp4", "report.png"]
    with Image.open(reported.folder / "out/0/report.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) >= 600
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or ()}
        assert {(31, 119, 180), (255, 127, 14)} <= colours  # both lines


def test_opencv_agrees_with_the_path(reported: Run) -> None:
    measured = reported.done()["measured"]
    decoded = measured["decoded"]
    assert decoded["jitter_px"]["before"] == pytest.approx(measured["jitter_px"]["before"], rel=0.1)
    assert decoded["jitter_px"]["after"] < decoded["jitter_px"]["before"] / 20
    assert decoded["itf_db"]["after"] > decoded["itf_db"]["before"] + 10
    assert decoded["crop"] == pytest.approx(measured["crop"], abs=0.03)


def test_progress_covers_the_measuring_too(reported: Run) -> None:
    fractions = [event["fraction"] for event in reported.of("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert fractions.count(1.0) == 1
    took = float((reported.folder.parent / "took").read_text())
    assert len(fractions) <= 2 * took + 2  # of 50 frames decoded three times, two a second


def test_black_borders_are_measured(tmp_path: Path) -> None:
    x264 = ("-c:v", "libx264", "-preset", "ultrafast")
    clip = media.clip(
        tmp_path / "boxed.mp4", video=("-vf", "drawbox=0:0:iw:30:black:fill,drawbox=0:0:16:ih:black:fill", *x264)
    )
    assert part("_report").measure(clip).border == pytest.approx(1 - 0.75 * 0.9, abs=0.02)


@pytest.mark.parametrize("degrees", [90, 270])
def test_a_rotated_clip_is_measured_as_shown(degrees: int, tmp_path: Path) -> None:
    report, clip = part("_report"), media.clip(tmp_path / "clip.mp4", steady=True)
    turned = media.remux(clip, tmp_path / "turned.mp4", before=("-display_rotation", str(degrees)))
    media.ffmpeg("-i", turned, "-c:v", "libx264", "-crf", "10", tmp_path / "shown.mp4")
    seen, shown = (next(report._frames(report.Clip(path, 0), 10**6)) for path in (turned, tmp_path / "shown.mp4"))
    assert seen.shape == shown.shape == media.SIZE
    assert abs(seen.astype(int) - shown).mean() < 4


@pytest.mark.parametrize("name", ["cv2", "matplotlib"])
def test_a_missing_package_is_said_before_the_work(name: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import importlib.util as u\nreal = u.find_spec\n"
        f"u.find_spec = lambda name, package=None: None if name == {name!r} else real(name, package)\n"
    )
    clip = media.clip(tmp_path / "clip.mp4")
    run = stabilize(tmp_path / "job", clip, report=True, env={"PYTHONPATH": str(site)})
    kind, error = run.failure()
    assert kind == "missing"
    assert "pip install" in error
    assert {"cv2": "opencv-python-headless", "matplotlib": "matplotlib"}[name] in error
    assert not run.started


@pytest.fixture(scope="session")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    if not FOREST.exists():
        pytest.skip("the real handheld clip is not here")
    return stabilize(tmp_path_factory.mktemp("forest") / "job", FOREST, report=True, crf=18, preset="medium")


@pytest.mark.soak
def test_real_footage_gets_as_steady_as_was_measured_when_the_defaults_were_chosen(forest: Run) -> None:
    """Chosen at 1.61 -> 0.97 px, ITF 16.7 -> 18.8 dB, crop 0.90, with another tracker."""
    decoded = forest.done()["measured"]["decoded"]
    assert decoded["jitter_px"]["before"] > 1.2
    assert decoded["jitter_px"]["after"] < 0.97
    assert decoded["jitter_px"]["after"] / decoded["jitter_px"]["before"] < 0.97 / 1.61
    assert decoded["itf_db"]["after"] == pytest.approx(18.8, abs=0.2)
    assert decoded["crop"] == pytest.approx(0.90, abs=0.01)
    assert decoded["border"]["after"] == 0


@pytest.mark.soak
def test_on_real_footage_the_path_says_what_the_pictures_say(forest: Run) -> None:
    measured = forest.done()["measured"]
    assert measured["frames"] == 916
    assert measured["jitter_px"]["before"] == pytest.approx(measured["decoded"]["jitter_px"]["before"], rel=0.03)
