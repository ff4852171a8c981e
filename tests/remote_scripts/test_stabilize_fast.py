"""`--fast` looks at half the size: another result, which says so, and is steady all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.stabilize import SERVICE, Stabilize
from tests import media

from .runs import Run, stabilize
from .segmented import in_segments, pieces

GOP = ("-c:v", "libx264", "-preset", "veryfast", "-g", "20")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("fast") / "clip.mp4", 2.6, (322, 242), video=GOP)


@pytest.fixture(scope="session")
def fast(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return stabilize(tmp_path_factory.mktemp("fast") / "job", clip, fast=True)


def test_it_looks_at_half_the_size_and_says_so(fast: Run) -> None:
    assert "color=s=160x120" in fast.log
    assert fast.done()["measured"]["analysed"] == "half size"
    assert "half size" in SERVICE.describe(fast.done()["measured"])


def test_motion_is_told_in_pixels_of_the_clip_and_undone(clip: Path, fast: Run, tmp_path: Path) -> None:
    whole, half = stabilize(tmp_path / "job", clip).done()["measured"], fast.done()["measured"]
    assert half["jitter_px"]["before"] == pytest.approx(whole["jitter_px"]["before"], rel=0.1)
    assert half["jitter_px"]["after"] < half["jitter_px"]["before"] / 10
    assert "analysed" not in whole
    assert "half size" not in SERVICE.describe(whole)


def test_it_is_cut_into_segments_too_and_shares_no_checkpoint_with_the_other(clip: Path, tmp_path: Path) -> None:
    fast, whole = (in_segments(tmp_path / str(flag), clip, fast=flag) for flag in (True, False))
    assert len(pieces(fast)) == len(pieces(whole)) == 4
    assert not {*pieces(fast)} & {*pieces(whole)}


def test_where_it_cannot_be_it_says_so(tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", media.clip(tmp_path / "clip.ts", 1, video=GOP), fast=True)
    assert "full size" in run.logged()
    assert "analysed" not in run.done()["measured"]


@pytest.mark.parametrize(("given", "meant"), [("medium", "superfast"), ("slow", "slow"), ("ultrafast", "ultrafast")])
def test_a_preset_of_ones_own_is_kept(given: str, meant: str) -> None:
    assert Stabilize(fast=True, preset=given).for_script()["preset"] == meant  # type: ignore[arg-type]
    assert Stabilize(preset=given).for_script()["preset"] == given  # type: ignore[arg-type]
