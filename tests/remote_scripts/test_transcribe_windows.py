"""Hours go window by window, and a job that is killed begins again at the one that was not finished."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .heard import RATE, alone, begin, finish, job, models, sound, transcribe
from .runs import Run, part
from .scripted import SCRIPTS

__all__ = ["models"]  # a fixture

PAUSES = (29, 60)  # seconds, where the long sound is quiet for a second


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 seconds of voice with two pauses."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    return sound(path, (29, 0.5), (1, 0), (30, 0.5), (1, 0), (19, 0.5))


@pytest.fixture(scope="module")
def whole(models: Path, long: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The long sound, heard in one go, by a model that is not sure: it draws at random in every window."""
    return transcribe(tmp_path_factory.mktemp("whole") / "job", models / "unsure", long, window=30)


def outputs(run: Run) -> dict[str, bytes]:
    return {file["name"]: (run.folder / "out/0" / file["name"]).read_bytes() for file in run.done()["files"]}


def kept(folder: Path, run: Run, *names: str) -> None:
    """Lay the checkpoints of a run where the next attempt finds them."""
    place = folder / "in/checkpoints/0"
    place.mkdir(parents=True)
    for name in names:
        shutil.copy(run.folder / "out/0/checkpoints" / name, place / name)


def again(folder: Path, models: Path, long: Path, whole: Run, *names: str, **how: Any) -> Run:
    """A second attempt, which finds what the first had finished."""
    job(folder, models / "unsure", long, window=30, **how)
    kept(folder, whole, *names)
    return finish(folder)


def test_each_segment_tells_the_half_minute_it_was_heard_in(whole: Run) -> None:
    segments = json.loads(outputs(whole)["transcript.json"])["segments"]
    assert len({segment["seek"] for segment in segments}) >= 3
    assert all(segment["seek"] <= segment["start"] * 100 < segment["seek"] + 3000 for segment in segments)


def windows_of(run: Run) -> list[str]:
    return [event["name"] for event in run.of("checkpoint")]


def test_each_window_is_a_checkpoint_and_is_cut_where_it_is_quiet(whole: Run) -> None:
    assert windows_of(whole) == ["window-0000", "window-0001", "window-0002"]
    parts = [json.loads(path.read_text()) for path in sorted((whole.folder / "out/0/checkpoints").iterdir())]
    for cut, pause in zip((piece["start"] for piece in parts[1:]), PAUSES, strict=True):
        assert pause <= cut / RATE <= pause + 1
    for before, after in pairwise(parts):
        assert after["given"] == before["after"]


def test_progress_is_told_in_seconds_of_sound(whole: Run) -> None:
    told = [event["fraction"] for event in whole.of("progress")]
    assert len(told) >= len(windows_of(whole))
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] == 1
    assert all(event["speed"] > 0 for event in whole.of("progress"))


def test_a_killed_job_goes_on_where_it_was_and_writes_the_same(
    models: Path, long: Path, whole: Run, tmp_path: Path
) -> None:
    process = begin(job(tmp_path / "killed", models / "unsure", long, window=30))
    assert process.stdout
    for line in process.stdout:
        if json.loads(line)["type"] == "checkpoint":
            break
    process.kill()
    process.wait()
    process.stdout.close()
    done = sorted(path.name for path in (tmp_path / "killed/out/0/checkpoints").glob("window-*"))
    assert done
    second = job(tmp_path / "again", models / "unsure", long, window=30)
    kept(second, Run(tmp_path / "killed", 0, [], ""), *done)
    run = finish(second)
    assert windows_of(run) == [name for name in windows_of(whole) if name not in done]
    assert outputs(run) == outputs(whole)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["window-0000", "window-0001", "window-0002"], []),
        (["window-0000"], ["window-0001", "window-0002"]),
        (["window-0000", "window-0002"], ["window-0001"]),
    ],
)
def test_what_is_kept_is_not_heard_again(
    names: list[str], missing: list[str], models: Path, long: Path, whole: Run, tmp_path: Path
) -> None:
    run = again(tmp_path / "job", models, long, whole, *names)
    assert windows_of(run) == missing
    assert outputs(run) == outputs(whole)


def test_what_was_heard_after_something_else_is_heard_again(
    models: Path, long: Path, whole: Run, tmp_path: Path
) -> None:
    run = again(tmp_path / "job", models, long, whole, *windows_of(whole), language="fr")
    assert windows_of(run) == windows_of(whole)


def test_a_checkpoint_that_cannot_be_read_is_heard_again(models: Path, long: Path, whole: Run, tmp_path: Path) -> None:
    job(tmp_path / "job", models / "unsure", long, window=30)
    kept(tmp_path / "job", whole, *windows_of(whole))
    (tmp_path / "job/in/checkpoints/0/window-0001").write_text('{"start": 1')
    run = finish(tmp_path / "job")
    assert windows_of(run) == ["window-0001"]
    assert outputs(run) == outputs(whole)


TWICE = """
import json, sys
from pathlib import Path

sys.path.insert(0, {scripts!r})
import importlib
import numpy as np

found = {{}}
for name, file in (("_faster_whisper", "unsure"), ("_whisper", "unsure.pt")):
    module = importlib.import_module(name)
    module.TEMPERATURES = (1.0,)
    folder = Path(file).absolute()
    if folder.is_file():
        folder = folder.with_suffix(".alone")
        folder.mkdir()
        (folder / "m.pt").symlink_to(Path(file).absolute())
    engine = module.Engine(folder, {params!r}, 0)
    samples = np.sin(np.arange(16000 * 5) / 10).astype(np.float32)
    times = (engine.hear(samples, "en", "", None, lambda seconds: None) for _ in range(3))
    found[name] = [[heard.text for heard in segments] for segments in times]
print(json.dumps(found))
"""


def test_what_is_drawn_does_not_depend_on_what_was_drawn_before(models: Path, tmp_path: Path) -> None:
    params = {"threads": 1, "translate": False, "beam_size": 1, "word_timestamps": False, "compute_type": "float32"}
    place = shutil.copytree(models, tmp_path / "models")
    code = TWICE.format(scripts=str(SCRIPTS), params=params)
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, env=alone(tmp_path))
    assert done.returncode == 0, done.stderr
    for engine, (first, *others) in json.loads(done.stdout).items():
        assert first and first[0], engine
        assert others == [first, first], engine


# The windows themselves


def windows(path: Path, seconds: int) -> list[Any]:
    part("_job")
    with part("_sound").open_track(path, 1) as track:
        return list(part("_windows").windows(track, seconds))


def test_windows_are_the_whole_sound_and_nothing_twice(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = sound(tmp_path / "a.wav", *((seconds, loudness) for seconds, loudness in rng.random((40, 2)) * (9, 1)))
    found = windows(path, 30)
    assert [window.index for window in found] == list(range(len(found)))
    assert all(len(window.samples) <= 33 * RATE for window in found)
    assert all(len(window.samples) >= 27 * RATE for window in found[:-1])
    (alone,) = windows(path, 3600)
    assert np.array_equal(np.concatenate([window.samples for window in found]), alone.samples)
    assert [window.start for window in found[1:]] == [window.end for window in found[:-1]]


def test_the_last_words_are_what_the_next_window_is_told() -> None:
    script, hearing = part("transcribe"), part("_hearing")

    def heard(text: str, temperature: float = 0.0) -> Any:
        return hearing.Heard(0.0, 1.0, text, (), temperature, 0.0, 0.0, 1.0, 0, ())

    given, params = script.Before("Names: Anna.", "en"), {"initial_prompt": "Names: Anna."}
    assert script._prompt(given, [heard(" One."), heard(" Two.")], params) == "Names: Anna. One. Two."
    assert script._prompt(given, [heard(" One."), heard(" Zwo.", 0.8)], params) == "Names: Anna."
    long = script._prompt(given, [heard(" word" * 1000)], params)
    assert 500 < len(long) <= 600
    assert set(long.split()) == {"word"}
    assert len(script._prompt(given, [heard("\u4f60" * 2000)], params)) == 600


def test_stretches_are_where_it_is_loud_and_end_with_a_whole_hop(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav", (3, 0), (2, 0.5), (1, 0), (1, 0.5), (4, 0), (1.0033, 0.5), hiss=0.02)
    (window,) = windows(path, 300)
    found = part("_windows").stretches(window.samples)
    assert [(round(start, 1), round(end, 1)) for start, end in found] == [(2.6, 7.4), (10.6, 12.0)]
    assert found[-1][1] <= len(window.samples) // 160 / 100
