"""An ffmpeg that is killed, or finds no room, says nothing of the clip: no item fails for it, and no byte differs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import media
from tests.executors.test_local import tmpfs

from . import upscaled
from .runs import FFMPEG, Run, job
from .segmented import command, in_segments, pieces, run
from .upscaled import quick_job

GOP = ("-c:v", "libx264", "-preset", "veryfast", "-g", "20")
STAGES = {"watching": "*vidstabdetect*", "steadying": "*relative=0*", "in one piece": "*smoothing=30*"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("killed") / "clip.mp4", 2.6, video=GOP)


def mortal(folder: Path, words: str) -> dict[str, str]:
    """The environment of an ffmpeg that is killed in the middle when its command line is like `words`."""
    wrapper = folder / "ffmpeg"
    dies = f'case "$*" in {words}) "{FFMPEG}" "$@" | head -c 150000; kill -9 $$;; esac'
    wrapper.write_text(f'#!/bin/sh\n{dies}\nexec "{FFMPEG}" "$@"\n')
    wrapper.chmod(0o755)
    return {"IMAGEIO_FFMPEG_EXE": str(wrapper)}


def assert_ended_alike(done: Run) -> None:
    assert done.status == -9
    assert "ffmpeg was killed" in done.log
    assert not done.of("item_failed")
    assert not done.of("item_done")
    assert not done.of("log")


@pytest.mark.parametrize("stage", STAGES)
def test_stabilise_ends_like_it(stage: str, clip: Path, tmp_path: Path) -> None:
    words = command(least=1e9) if stage == "in one piece" else command()
    assert_ended_alike(run(job(tmp_path / "job", clip), words, mortal(tmp_path, STAGES[stage])))


def test_and_goes_on_with_the_same_bytes(clip: Path, tmp_path: Path) -> None:
    folder = job(tmp_path / "job", clip)
    watched = pieces(run(folder, command(), mortal(tmp_path, STAGES["steadying"])))
    assert len(watched) >= 2
    shutil.move(folder / "out/0/checkpoints", tmp_path / "kept")
    job(folder, clip)
    shutil.copytree(tmp_path / "kept", folder / "in/checkpoints/0")
    again = run(folder, command())
    assert not {*pieces(again)} & {*watched}
    assert again.output().read_bytes() == in_segments(tmp_path / "whole", clip).output().read_bytes()


def test_upscale_ends_like_it(clip: Path, tmp_path: Path) -> None:
    words = quick_job(tmp_path / "job", clip)
    assert_ended_alike(run(tmp_path / "job", words, mortal(tmp_path, "*rawvideo*")))


def test_want_of_memory_is_told_as_that(clip: Path, tmp_path: Path) -> None:
    says = "echo '[fatal] Error while opening encoder: Cannot allocate memory' >&2; exit 244"
    (tmp_path / "ffmpeg").write_text(f'#!/bin/sh\ncase "$*" in *vidstabdetect*) {says};; esac\nexec "{FFMPEG}" "$@"\n')
    (tmp_path / "ffmpeg").chmod(0o755)
    done = run(job(tmp_path / "job", clip), command(), {"IMAGEIO_FFMPEG_EXE": str(tmp_path / "ffmpeg")})
    assert done.failure()[0] == "memory"
    assert not done.of("log")


def test_a_disk_that_fills_while_pictures_wait_is_told_of(tmp_path: Path) -> None:
    """Five times, for it would crash only when a picture is being encoded at that moment."""
    noise = ("-vf", "noise=alls=90:allf=t", "-c:v", "libx264", "-preset", "ultrafast")
    clip = media.clip(tmp_path / "clip.mp4", 3, sound=False, video=noise)
    with tmpfs(tmp_path) as small:
        for _ in range(5):
            words = quick_job(small / "job", clip, crf=1, preset="ultrafast")
            lies = "real = shutil.disk_usage\nshutil.disk_usage = lambda path: real(path)._replace(free=10**12)\n"
            words[2] = f"import shutil\n{lies}{words[2]}"
            done = upscaled.run(words, small / "job")
            assert done.failure() == ("limit", "the disk is full where the job runs")
            subprocess.run(["rm", "-r", small / "job"], check=True)
