"""Upscale, of clips, killed at any moment: the next attempt does only the rest, and the bytes are the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests import media

from .runs import Run, part
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
    assert [name[:13] for name in pieces(one)] == ["frames-000000", "frames-000001"]
    for number in range(rounds):
        done = interrupted(make, pieces(one), tmp_path / str(number), random.Random(number), most)
        assert done.done()["files"] == one.done()["files"]


@pytest.mark.parametrize("cores", [1, 2])
def test_bytes_do_not_depend_on_the_number_of_cores(cores: int, clip: Path, whole: Run, tmp_path: Path) -> None:
    command = quick_job(tmp_path / "job", clip, segment=12, preset="medium")
    assert run([*held_to(cores), *command], tmp_path / "job").done()["files"] == whole.done()["files"]


@pytest.fixture
def kept(whole: Run, tmp_path: Path) -> Path:
    """The pieces of the whole clip but the last two, as another attempt finds them."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for name in pieces(whole)[:-2]:
        shutil.copy(whole.folder / "out/0/checkpoints" / name, folder)
    return folder


@pytest.mark.parametrize(
    "other", [{"scale": 2}, {"crf": 20}, {"tile": 64}, {"fp16": True}, {"width": 90, "height": 70}]
)
def test_pieces_of_other_settings_are_not_taken(other: dict[str, Any], clip: Path, kept: Path, tmp_path: Path) -> None:
    done = run(
        quick_job(tmp_path / "job", clip, segment=12, checkpoints=kept, preset="medium", **other), tmp_path / "job"
    )
    assert len(pieces(done)) == 5
    assert not {path.name for path in kept.iterdir()} & {*pieces(done)}


def test_pieces_of_another_clip_or_another_model_are_not_taken(clip: Path, whole: Run, tmp_path: Path) -> None:
    other = media.clip(tmp_path / "other.mp4", 2.4, (64, 48), video=(*X264, "-vf", "negate"))
    done = run(quick_job(tmp_path / "job", other, segment=12, preset="medium"), tmp_path / "job")
    assert not {*pieces(done)} & {*pieces(whole)}
    command = quick_job(tmp_path / "job", clip, segment=12, preset="medium")
    (tmp_path / "job/models/model/more.pth").write_text("other weights")
    assert not {*pieces(run(command, tmp_path / "job"))} & {*pieces(whole)}


def test_threads_and_smaller_tiles_go_on_with_what_there_is(clip: Path, kept: Path, whole: Run, tmp_path: Path) -> None:
    command = quick_job(tmp_path / "job", clip, segment=12, checkpoints=kept, preset="medium", threads=2, ease=1)
    done = run(command, tmp_path / "job")
    assert pieces(done) == pieces(whole)[-2:]
    assert "36 of 60 frames are done already" in done.logged()


def test_a_piece_that_does_not_fit_is_made_again(clip: Path, kept: Path, whole: Run, tmp_path: Path) -> None:
    """One of another encoder, one that lacks frames, one that is none: under names that say otherwise."""
    foreign = run(quick_job(tmp_path / "other", clip, segment=12, preset="ultrafast"), tmp_path / "other")
    short = run(quick_job(tmp_path / "short", clip, segment=11, preset="medium"), tmp_path / "short")
    names = pieces(whole)
    shutil.copy(foreign.folder / "out/0/checkpoints" / pieces(foreign)[0], kept / names[0])
    shutil.copy(short.folder / "out/0/checkpoints" / pieces(short)[1], kept / names[1])
    (kept / names[2]).write_bytes(b"none")
    done = run(quick_job(tmp_path / "job", clip, segment=12, checkpoints=kept, preset="medium"), tmp_path / "job")
    assert pieces(done) == names
    assert "made again: 3" in done.logged()
    assert done.done()["files"] == whole.done()["files"]


def test_a_long_clip_has_no_more_pieces_than_are_kept() -> None:
    from broker.checkpoints import JOB_PIECES

    table = part("_timetable")
    for frames in (1, 48, 49, 48_000, 48_001, 432_000):
        times = table.Timetable((*range(frames),), 1, *[Fraction(1)] * 5, "")
        spans = [times.span(one.number) for one in times.segments("")]
        assert len(spans) <= JOB_PIECES / 2
        assert [stop for _, stop in spans] == [*(start for start, _ in spans[1:]), frames]
        assert all(stop - start > 0 for start, stop in spans)
        assert (spans[0][1] == 48) == (48 <= frames <= 48_000)
