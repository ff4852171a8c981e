"""Colours mean in the result what they meant in the input; what 8 bits cannot hold is never passed off as held."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests import media

from .runs import first_frame, stabilize

X264 = ("-c:v", "libx264", "-preset", "ultrafast")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
FULL, LIMITED = 2, 1  # H.273 numbers, as PyAV gives them
BT709, BT601, BT2020, PQ, HLG = 1, 6, 9, 16, 18


def tags(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Range, primaries, transfer and matrix."""
    return int(frame.color_range), int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)


def tagged(range_: str, name: str) -> tuple[str, ...]:
    convert = f"scale=out_range={range_}:out_color_matrix={name}"
    return (
        "-vf",
        f"{convert},setparams=color_primaries={name}:color_trc={name}:colorspace={name}:range={range_}",
        *X264,
    )


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        (tagged("tv", "bt709"), (LIMITED, BT709, BT709, BT709)),
        (tagged("pc", "bt709"), (FULL, BT709, BT709, BT709)),
        (tagged("tv", "smpte170m"), (LIMITED, BT601, BT601, BT601)),
    ],
)
def test_colour_tags_and_colours_are_kept(video: tuple[str, ...], expected: tuple[int, ...], tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4", steady=True, video=video)
    result = first_frame(stabilize(tmp_path / "job", clip).output())
    assert tags(first_frame(clip)) == tags(result) == expected
    assert same_colours(first_frame(clip), result)


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuv422p", "yuv444p", "gray"])
def test_other_8_bit_pictures_keep_their_colours(pix_fmt: str, tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4", steady=True, pix_fmt=pix_fmt, video=X264)
    run = stabilize(tmp_path / "job", clip)
    result = first_frame(run.output())
    assert result.format.name in ("yuv420p", "yuvj420p")
    assert tags(first_frame(clip)) == tags(result)
    assert same_colours(first_frame(clip), result)
    assert ("4:2:0" in run.logged()) == (pix_fmt in ("yuv422p", "yuv444p"))


def test_rgb_becomes_bt709_and_says_so(tmp_path: Path) -> None:
    rgb = ("-c:v", "libx264rgb", "-preset", "ultrafast")
    clip = media.clip(tmp_path / "clip.mp4", steady=True, pix_fmt="rgb24", video=rgb)
    result = first_frame(stabilize(tmp_path / "job", clip).output())
    assert (int(result.color_range), int(result.colorspace)) == (LIMITED, BT709)
    assert same_colours(first_frame(clip), result)


def same_colours(before: av.VideoFrame, after: av.VideoFrame) -> bool:
    a, b = (frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(0) for frame in (before, after))
    return bool(abs(a - b).max() < 2.5)


def hdr(folder: Path, transfer: str, more: str = "") -> Path:
    tag = f"log-level=error:transfer={transfer}{more}"
    return media.clip(folder / f"{transfer}.mp4", pix_fmt="yuv420p10le", video=(*X265, tag))


WIDE = ":colorprim=bt2020:colormatrix=bt2020nc"


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG"), ("bt709", "10-bit")])
def test_more_than_8_bits_is_refused_and_the_flag_named(transfer: str, name: str, tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", hdr(tmp_path, transfer))
    kind, error = run.failure()
    assert kind == "bad_input"
    assert name in error
    assert "--to-sdr" in error
    assert not run.started


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("more", [WIDE, ""])
def test_hdr_is_tone_mapped_to_bt709(transfer: str, more: str, tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", hdr(tmp_path, transfer, more), to_sdr=True)
    result = first_frame(run.output())
    assert result.format.name == "yuv420p"
    assert tags(result) == (LIMITED, BT709, BT709, BT709)
    assert "HDR" in run.logged()


def test_tone_mapping_keeps_grey_grey_and_brighter_brighter(tmp_path: Path) -> None:
    """PQ codes of 10, 100 and 1000 nits: 64 + 876 x 0.30, 0.51 and 0.75 in 10 bits."""
    levels = []
    for code in (327, 509, 722):
        level = f"geq=lum={code}:cb=512:cr=512"
        hevc = ("-vf", f"format=yuv420p10le,{level}", *X265, f"log-level=error:transfer=smpte2084{WIDE}")
        clip = media.clip(tmp_path / f"{code}.mp4", 0.2, pix_fmt="yuv420p10le", video=hevc)
        frame = first_frame(stabilize(tmp_path / f"job{code}", clip, to_sdr=True).output())
        red, green, blue = frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(0)
        assert max(red, green, blue) - min(red, green, blue) < 4
        levels.append(green)
    assert levels[0] < 70 < levels[1] < 200 < levels[2]


def test_10_bit_sdr_keeps_its_tags_and_colours(tmp_path: Path) -> None:
    video = tagged("tv", "bt709")
    clip = media.clip(tmp_path / "clip.mp4", steady=True, pix_fmt="yuv420p10le", video=video)
    result = first_frame(stabilize(tmp_path / "job", clip, to_sdr=True).output())
    assert result.format.name == "yuv420p"
    assert tags(result) == tags(first_frame(clip))
    assert same_colours(first_frame(clip), result)
