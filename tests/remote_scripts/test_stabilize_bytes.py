"""The same input gives the same bytes: again, on one core and on two, and on a CPU without its newer instructions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests import media

from .runs import stabilize, wrapped_ffmpeg
from .test_cut import detect_whole

ROOT = Path(__file__).parents[2]
SAMPLE, FOREST = ROOT / "examples/handheld.mp4", ROOT.parent / "shared/data/handheld-forest.mp4"


@pytest.fixture(scope="session", params=["mp4", "mov", "mkv"])
def container(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("bytes") / "clip.mp4", 2, (320, 240))


@pytest.fixture(scope="session")
def once(clip: Path, container: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("once") / "job"
    return stabilize(folder, clip, container=container, preset="medium").output().read_bytes()


def test_bytes_repeat(clip: Path, container: str, once: bytes, tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", clip, container=container, preset="medium")
    assert run.output().read_bytes() == once


def test_bytes_are_the_same_on_one_core_and_on_two(clip: Path, container: str, once: bytes, tmp_path: Path) -> None:
    for number in (1, 2):
        run = stabilize(tmp_path / str(number), clip, container=container, preset="medium", prefix=held_to(number))
        assert run.output().read_bytes() == once


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (96, 40), (40, 96), (96, 62), (64, 64), (94, 94)])
def test_the_same_is_found_again_in_small_frames(size: tuple[int, int], tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4", 0.2, size, sound=False)
    found = {detect_whole(clip, tmp_path / str(number)).read_bytes() for number in range(4)}
    assert len(found) == 1


@pytest.mark.parametrize("clip", [SAMPLE, pytest.param(FOREST, marks=pytest.mark.soak)], ids=lambda path: path.stem)
def test_a_whole_clip_has_the_same_bytes_on_one_core_and_on_two(clip: Path, tmp_path: Path) -> None:
    if not clip.exists():
        pytest.skip(f"{clip.name} is not here")
    one, two = (
        stabilize(tmp_path / str(number), clip, crf=18, preset="medium", prefix=held_to(number)) for number in (1, 2)
    )
    assert one.output().read_bytes() == two.output().read_bytes()


def held_to(number: int) -> tuple[str, ...]:
    """What goes before a command to give it `number` cores."""
    if not shutil.which("taskset"):
        pytest.skip("taskset is not installed")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("this machine has one core")
    return ("taskset", "-c", ",".join(map(str, cores[:number])))


def test_nor_do_they_depend_on_it_where_references_are_missing(tmp_path: Path) -> None:
    """Two halves joined without encoding, the second from the middle of a GOP on: a decoder has to make things up."""
    gop = ("-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "3")
    whole = media.clip(tmp_path / "whole.mp4", 9, sound=False, video=gop)
    media.remux(whole, tmp_path / "0.mkv", "-t", "4.2")
    media.remux(whole, tmp_path / "1.mkv", "-bsf:v", "noise=drop=lt(n\\,120)")
    (tmp_path / "list").write_text("file 0.mkv\nfile 1.mkv\n")
    media.remux(tmp_path / "list", tmp_path / "joined.mkv", before=("-f", "concat", "-safe", "0"))
    one, two = (
        stabilize(tmp_path / str(number), tmp_path / "joined.mkv", container="mkv", prefix=held_to(number))
        for number in (1, 2)
    )
    assert one.output().read_bytes() == two.output().read_bytes()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
def test_bytes_do_not_depend_on_the_instructions_of_the_cpu(pix_fmt: str, tmp_path: Path) -> None:
    x264 = ("-c:v", "libx264", "-preset", "ultrafast")
    clip = media.clip(tmp_path / "clip.mp4", pix_fmt=pix_fmt, video=x264)
    plain = {"IMAGEIO_FFMPEG_EXE": str(wrapped_ffmpeg(tmp_path, "-cpuflags 0"))}
    fast, slow = stabilize(tmp_path / "fast", clip), stabilize(tmp_path / "slow", clip, env=plain)
    assert fast.output().read_bytes() == slow.output().read_bytes()


def test_another_setting_gives_other_bytes(clip: Path, tmp_path: Path) -> None:
    one, other = (stabilize(tmp_path / str(number), clip, smoothing=number) for number in (30, 5))
    assert one.output().read_bytes() != other.output().read_bytes()


def test_the_hash_and_size_reported_are_those_of_the_file(clip: Path, tmp_path: Path) -> None:
    import hashlib

    run = stabilize(tmp_path / "job", clip)
    data = run.output().read_bytes()
    expected = {"name": "stabilized.mp4", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert run.done()["files"] == [expected]
