"""Upscale, of clips that 8 bits cannot hold: refused, or converted as stabilise does it, and tagged as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import media

from .runs import Run, stabilize
from .test_stabilize_colour import BT709, HLG, LIMITED, PQ, WIDE, X265, tagged
from .test_upscale_film import frames, tags
from .upscaled import quickly

SHADES = "format=yuv420p10le,geq=lum='64+600*X/W':cb='512+150*(Y/H-0.5)':cr=512"
DEEP = {
    "PQ": ("smpte2084", WIDE),
    "PQ of unknown colours": ("smpte2084", ""),
    "HLG": ("arib-std-b67", WIDE),
    "HLG of unknown colours": ("arib-std-b67", ""),
}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of 10 bits: HDR of all kinds, and one that is SDR."""
    folder = tmp_path_factory.mktemp("deep")
    found = []
    for name, (transfer, more) in DEEP.items():
        hevc = ("-vf", SHADES, *X265, f"log-level=error:transfer={transfer}{more}")
        found.append(media.clip(folder / f"{name}.mp4", 0.12, pix_fmt="yuv420p10le", video=hevc))
    sdr = tagged("tv", "bt709")
    return [*found, media.clip(folder / "SDR.mp4", 0.12, pix_fmt="yuv420p10le", video=sdr)]


@pytest.fixture(scope="module")
def converted(deep: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return quickly(tmp_path_factory.mktemp("converted") / "job", *deep, suffix=".mkv", to_sdr=True)


def test_without_being_asked_nothing_is_converted(deep: list[Path], tmp_path: Path) -> None:
    run = quickly(tmp_path / "job", *deep, suffix=".mkv")
    for index, what in enumerate(["HDR (PQ)", "HDR (PQ)", "HDR (HLG)", "HDR (HLG)", "10-bit"]):
        kind, error = run.failure(index)
        assert (kind, error) == (
            "bad_input",
            f"the input is {what}, more than the 8-bit result can hold; add --to-sdr to convert it",
        )
        assert not run.of("checkpoint", index)


def test_what_was_converted_says_what_it_is_now(deep: list[Path], converted: Run) -> None:
    assert [tags(clip)[3] for clip in deep] == [PQ, PQ, HLG, HLG, BT709]
    for index in range(len(deep)):
        assert tags(converted.output(index)) == (LIMITED, BT709, BT709, BT709)
    told = ["HDR (PQ)", "HDR (PQ)", "HDR (HLG)", "HDR (HLG)", "10-bit"]
    for index, what in enumerate(told):
        assert f"converted from {what} to 8-bit SDR" in converted.logged(index)


def test_the_colours_are_those_that_stabilise_makes_of_it(deep: list[Path], converted: Run, tmp_path: Path) -> None:
    steadied = stabilize(tmp_path / "job", *deep, to_sdr=True, zoom=0, smoothing=0, crf=8)
    for index in range(4):
        small, large = (frames(run.output(index))[1].astype(float) for run in (steadied, converted))
        blocks = large.reshape(120, 4, 160, 4, 3).mean(axis=(1, 3))
        assert np.ptp(small) > 100
        assert np.abs(blocks - small).mean() < 2


def test_10_bits_of_sdr_keep_their_colours(deep: list[Path], converted: Run) -> None:
    before, after = (frames(path)[1].astype(float) for path in (deep[4], converted.output(4)))
    assert np.abs(after.mean(axis=(0, 1)) - before.mean(axis=(0, 1))).max() < 1.5
