"""Clips and pictures compared: each level is really reached, and the figures are those computed another way."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from broker.errors import MissingHere
from services import stabilize, upscale
from services.base.compare import Comparison, Level, Pictures, compare, media
from tests.media import clip, ffmpeg, remux

LOSSLESS = ("-c:v", "libx264", "-qp", "0", "-preset", "ultrafast")


def compared(one: Path, other: Path, least: float = stabilize.CLOSE_DB) -> Comparison:
    return compare(one, other, lambda ours, theirs: media.compare(ours, theirs, least))


def again(source: Path, name: str, *filters: str, sound: str = "copy") -> Path:
    """The clip once more, without loss but for the filters."""
    chain = ("-vf", ",".join(filters)) if filters else ()
    path = source.with_name(name)
    ffmpeg(
        "-i", source, *chain, "-c:a", sound, *LOSSLESS, "-fps_mode", "passthrough", "-enc_time_base:v", "demux", path
    )
    return path


def samples(path: Path) -> list[np.ndarray]:
    """All samples of each frame, as PyAV decodes them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="yuv420p").astype(float) for frame in container.decode(video=0)]


def psnr(one: np.ndarray, other: np.ndarray, peak: int = 255) -> float:
    error = float(((one - other) ** 2).mean())
    return 10 * math.log10(peak**2 / error) if error else math.inf


@pytest.fixture
def shot(shaky: Path, tmp_path: Path) -> Path:
    """Half a second of footage with sound."""
    return Path(shutil.copy(shaky, tmp_path / "shot.mp4"))


def test_equal_bytes(shot: Path, tmp_path: Path) -> None:
    found = compared(shot, Path(shutil.copy(shot, tmp_path / "same.mp4")))
    assert found.level is Level.BYTES
    assert found.figures["bytes"] == shot.stat().st_size


@pytest.mark.parametrize("name", ["titled.mp4", "other.mkv"])
def test_the_same_frames_in_other_bytes(name: str, shot: Path, tmp_path: Path) -> None:
    found = compared(shot, remux(shot, tmp_path / name, "-metadata", "title=another"))
    assert found.level is Level.FRAMES
    assert found.figures["equal_frames"] == found.figures["frames"] == len(samples(shot))
    assert found.figures["worst_db"] is None
    assert found.figures["times_differ_seconds"] <= media.TICK


def test_a_little_noise_is_close_and_the_decibels_are_right(shot: Path) -> None:
    other = again(shot, "noisy.mp4", "noise=alls=2:allf=t:all_seed=7:enable='gte(n,4)'")
    found = compared(shot, other)
    expected = [psnr(*pair) for pair in zip(samples(shot), samples(other), strict=True)]
    worst = min(range(len(expected)), key=expected.__getitem__)
    assert found.level is Level.CLOSE
    assert found.figures["equal_frames"] == 4
    assert found.figures["worst_db"] == pytest.approx(expected[worst], abs=0.01)
    assert expected[found.figures["worst_frame"]] == pytest.approx(expected[worst], abs=0.01)
    mean = -10 * math.log10(sum(10 ** (-value / 10) for value in expected) / len(expected))
    assert found.figures["mean_db"] == pytest.approx(mean, abs=0.01)
    assert found.sentence.startswith(f"worst {found.figures['worst_db']} dB, frame {found.figures['worst_frame']} at")
    assert isinstance(found.exhibit, Pictures)
    shown = {frame.number: frame.decibels for frame in found.exhibit.frames}
    assert shown.pop(0) is None
    assert sorted(expected[number] for number in shown) == pytest.approx(sorted(expected)[:3], abs=0.01)


def test_frames_are_compared_by_number_however_late_they_are(shot: Path) -> None:
    other = again(shot, "late.mkv", "setpts=PTS+0.13/TB*gte(N\\,3)", "noise=alls=2:allf=t:all_seed=7")
    found = compared(shot, other)
    expected = [psnr(*pair) for pair in zip(samples(shot), samples(other), strict=True)]
    assert found.level is Level.DIFFERENT
    assert found.figures["worst_db"] == pytest.approx(min(expected), abs=0.01)
    assert found.figures["times_differ_seconds"] == pytest.approx(0.13, abs=media.TICK)


def test_what_is_close_is_for_the_service_to_say(shot: Path) -> None:
    other = again(shot, "noisy.mp4", "noise=alls=2:allf=t:all_seed=7")
    worst = compared(shot, other).figures["worst_db"]
    assert compared(shot, other, worst).level is Level.CLOSE
    assert compared(shot, other, worst + 0.01).level is Level.DIFFERENT


def test_one_other_frame_among_equal_ones_is_found(shot: Path) -> None:
    found = compared(shot, again(shot, "flash.mp4", "negate=enable='eq(n,7)'"))
    assert found.level is Level.DIFFERENT
    assert (found.figures["worst_frame"], found.figures["equal_frames"]) == (7, found.figures["frames"] - 1)
    assert "frame 7 at 0.280 s" in found.sentence


def test_another_clip_is_different(shot: Path, tmp_path: Path) -> None:
    found = compared(shot, clip(tmp_path / "steady.mp4", 0.5, steady=True))
    assert found.level is Level.DIFFERENT
    assert found.figures["worst_db"] < 30


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (("trim=end_frame=9",), "frames, the other 9"),
        (("crop=128:96",), "the first is 160x120, the other 128x96"),
        (("setpts=PTS+0.02/TB*gte(N\\,5)",), "times differ by up to 0.0"),
    ],
)
def test_another_shape_or_time_is_different(filters: tuple[str, ...], said: str, shot: Path) -> None:
    found = compared(shot, again(shot, "other.mp4", *filters))
    assert found.level is Level.DIFFERENT
    assert said in found.sentence


def test_other_sound_is_different_though_all_frames_are_equal(shot: Path) -> None:
    found = compared(shot, again(shot, "loud.mp4", sound="aac"))
    assert (found.level, found.figures["worst_db"], found.figures["sound_equal"]) == (Level.DIFFERENT, None, False)
    assert "sound or subtitles differ" in found.sentence


def test_a_missing_track_is_different(shot: Path, tmp_path: Path) -> None:
    found = compared(shot, remux(shot, tmp_path / "mute.mp4", "-an"))
    assert found.level is Level.DIFFERENT
    assert "other tracks (video audio) than the other (video)" in found.sentence


def test_frames_of_uneven_length_are_neither_dropped_nor_doubled(shot: Path) -> None:
    uneven = again(shot, "uneven.mkv", "setpts='(N*N+2*N)/50/TB'")
    times = media.tracks(uneven)[0].times
    assert len(times) == len(samples(shot))
    assert times == pytest.approx([(n * n + 2 * n) / 50 for n in range(len(times))], abs=media.TICK)
    found = compared(uneven, again(uneven, "noisy.mkv", "noise=alls=2:allf=t:all_seed=7"))
    assert (found.level, found.figures["frames"]) == (Level.CLOSE, len(times))


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "text", ["no clip", "", PLAYLIST, "ffconcat version 1.0\nfile {}\n", "ffconcat version 1.0\nfile shot.mp4\n"]
)
def test_what_is_no_clip_is_different_and_opens_nothing(text: str, shot: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.mp4"
    odd.write_text(text.format(shot))
    for pair, name in (((shot, odd), "the other"), ((odd, shot), "the first")):
        found = compared(*pair)
        assert found.level is Level.DIFFERENT
        assert found.sentence.startswith(f"{name} cannot be decoded: ")


def test_without_ffmpeg_it_says_what_to_install(shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = remux(shot, tmp_path / "titled.mp4", "-metadata", "title=another")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(MissingHere) as caught:
        compared(shot, other)
    assert "pip install 'offload-broker[stabilize]'" in caught.value.hint


# Pictures


def picture(path: Path, pixels: np.ndarray, **how: int) -> Path:
    Image.fromarray(pixels).save(path, **how)
    return path


@pytest.fixture
def pixels() -> np.ndarray:
    """A picture with a gradient and some grain."""
    y, x = np.mgrid[0:90, 0:120]
    grain = np.random.default_rng(1).integers(-9, 9, (90, 120, 3))
    return (np.stack([y + 60, x + 40, (x + y) // 2 + 50], -1) + grain).astype(np.uint8)


def test_the_same_pixels_packed_otherwise(tmp_path: Path, pixels: np.ndarray) -> None:
    one, other = (picture(tmp_path / f"{n}.png", pixels, compress_level=n) for n in (1, 9))
    found = compared(one, other)
    assert (found.level, found.sentence) == (Level.FRAMES, "the picture is equal when decoded")


def test_each_value_off_by_one_is_48_decibels(tmp_path: Path, pixels: np.ndarray) -> None:
    one, other = picture(tmp_path / "1.png", pixels), picture(tmp_path / "2.png", pixels + np.uint8(1))
    assert compared(one, other).figures["worst_db"] == pytest.approx(20 * math.log10(255), abs=0.01)
    assert upscale.SERVICE.compare(one, other).level is Level.CLOSE
    third = picture(tmp_path / "3.png", pixels + np.uint8(2))
    assert upscale.SERVICE.compare(one, third).level is Level.DIFFERENT


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_pictures_of_other_kinds(suffix: str, tmp_path: Path, pixels: np.ndarray) -> None:
    fine, coarse = (picture(tmp_path / f"{n}{suffix}", pixels, quality=n) for n in (95, 5))
    same = picture(tmp_path / f"same{suffix}", pixels, quality=95)
    same.write_bytes(same.read_bytes() + b"\0")
    assert compared(fine, same).level is Level.FRAMES
    found = compared(fine, coarse)
    assert found.level is Level.DIFFERENT
    assert found.figures["worst_db"] < 40


def test_transparency_counts(tmp_path: Path, pixels: np.ndarray) -> None:
    solid = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    holed = solid.copy()
    holed[40, 50, 3] = 0
    found = compared(picture(tmp_path / "1.png", solid), picture(tmp_path / "2.png", holed))
    assert found.level is not Level.FRAMES
    assert found.figures["worst_db"] == pytest.approx(psnr(solid.astype(float), holed.astype(float)), abs=0.01)


def test_the_last_of_sixteen_bits_counts(tmp_path: Path) -> None:
    deep = np.arange(90 * 120, dtype=np.uint16).reshape(90, 120)
    off = deep.copy()
    off[10, 10] += 1
    found = compared(picture(tmp_path / "1.png", deep), picture(tmp_path / "2.png", off))
    assert found.level is Level.CLOSE
    assert found.figures["worst_db"] == pytest.approx(psnr(deep.astype(float), off.astype(float), 65_535), abs=0.01)


def test_a_name_that_ffmpeg_would_take_for_a_pattern(tmp_path: Path, pixels: np.ndarray) -> None:
    picture(tmp_path / "a001.png", np.flipud(pixels))
    one = picture(tmp_path / "a%03d.png", pixels, compress_level=1)
    assert compared(one, picture(tmp_path / "b.png", pixels)).level is Level.FRAMES


def test_stills_are_the_frames_asked_for(shot: Path, tmp_path: Path) -> None:
    numbers = (0, 3, 11)
    for png, number in zip(media.stills(shot, numbers), numbers, strict=True):
        (tmp_path / "still.png").write_bytes(png)
        with Image.open(tmp_path / "still.png") as still:
            grey = np.asarray(still.convert("L"), float)
        luma = (samples(shot)[number][:120] - 16) * 255 / 219
        assert np.abs(grey - luma).mean() < 3
        assert np.abs(grey - (samples(shot)[number - 1][:120] - 16) * 255 / 219).mean() > 6


def test_stills_of_a_large_picture_are_small(tmp_path: Path) -> None:
    large = picture(tmp_path / "large.png", np.zeros((100, 2000), np.uint8))
    (tmp_path / "still.png").write_bytes(media.stills(large, [0])[0])
    with Image.open(tmp_path / "still.png") as still:
        assert still.size == (media.WIDEST, 48)
