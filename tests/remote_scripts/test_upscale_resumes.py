"""Upscale, of clips, killed at any moment: the next attempt does only the rest, and the bytes are the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import media

from .runs import Run
from .test_stabilize_bytes import held_to
from .upscaled import job, networks, quick_job, run

__all__ = ["networks"]  # a fixture
X264 = ("-c:v", "libx264", "-preset", "ultrafast")
Make = Callable[..., list[str]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("resumes") / "clip.mp4", 2.4, (64, 48), video=X264)


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The clip in five segments of 12 frames, never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "job"
    return run(quick_job(folder, clip, segment=12, preset="medium"), folder)


def pieces(done: Run) -> list[str]:
    """The names of the checkpoints that a run made."""
    return [event["name"] for event in done.of("checkpoint")]


def killed(command: list[str], folder: Path, told: int, after: float) -> None:
    """Run until so many checkpoints are told and `after` seconds more; then kill it, if it is not done by then."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        while told and (line := process.stdout.readline()):
            told -= json.loads(line)["type"] == "checkpoint"
        time.sleep(after)
        process.kill()


def interrupted(make: Make, names: list[str], folder: Path, chance: random.Random, most: int = 3) -> Run:
    """Kill a job up to `most` times, and see it through, each time in another folder, as on another machine."""
    kept = folder / "kept"
    kept.mkdir(parents=True)
    for number in range(chance.randint(1, most)):
        place, had = folder / f"killed-{number}", len(list(kept.iterdir()))
        killed(make(place, checkpoints=kept), place, chance.randint(0, 2), chance.uniform(0, 0.2))
        found = [path for path in place.glob("out/0/checkpoints/*") if path.name in names]
        assert {path.name for path in found} <= set(names[had:]), "a finished segment was done again"
        for path in found:
            shutil.copy(path, kept)
    place, had = folder / "last", len(list(kept.iterdir()))
    done = run(make(place, checkpoints=kept), place)
    assert pieces(done) == names[had:]
    return done


@pytest.mark.parametrize("number", range(5))
def test_who_is_killed_goes_on_and_makes_the_same_bytes(number: int, clip: Path, whole: Run, tmp_path: Path) -> None:
    def make(folder: Path, **more: Any) -> list[str]:
        return quick_job(folder, clip, segment=12, preset="medium", **more)

    assert len(pieces(whole)) == 5
    done = interrupted(make, pieces(whole), tmp_path / "rounds", random.Random(number))
    assert done.done()["files"] == whole.done()["files"]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("rounds", "most"), [(1, 1), pytest.param(40, 3, marks=pytest.mark.soak)])
def test_and_so_with_a_network(rounds: int, most: int, clip: Path, networks: Path, tmp_path: Path) -> None:
    """However many threads compute it."""

    def make(folder: Path, threads: int = 2, **more: Any) -> list[str]:
        return job(folder, clip, model=networks / "compact.pth", preset="medium", threads=threads, **more)

    one = run(make(tmp_path / "whole", threads=1), tmp_path / "whole")
    assert pieces(one) == ["frames-000000", "frames-000001"]
    for number in range(rounds):
        done = interrupted(make, pieces(one), tmp_path / str(number), random.Random(number), most)
        assert done.done()["files"] == one.done()["files"]


@pytest.mark.parametrize("cores", [1, 2])
def test_bytes_do_not_depend_on_the_number_of_cores(cores: int, clip: Path, whole: Run, tmp_path: Path) -> None:
    command = quick_job(tmp_path / "job", clip, segment=12, preset="medium")
    assert run([*held_to(cores), *command], tmp_path / "job").done()["files"] == whole.done()["files"]
