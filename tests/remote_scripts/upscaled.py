"""Runs of upscale.py, with networks made once: one of random weights of each kind, and one that repeats pixels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.once import once_apart

from .runs import LIMITS, Run
from .scripted import SCRIPTS

PARAMS = {
    "model": "tiny",
    "scale": 4,
    "width": None,
    "height": None,
    "denoise": None,
    "tile": 256,
    "fp16": False,
    "threads": 1,
    "crf": 10,
    "preset": "veryfast",
    "to_sdr": False,
}

QUICKLY = """
import sys
sys.path.insert(0, {scripts!r})
import _job, _memory, _tiles, _timetable, upscale

class Repeats:
    scale = 4

    def __call__(self, pixels):
        return pixels.repeat(4, axis=0).repeat(4, axis=1)

def enlarger(job):
    return _tiles.Enlarger(Repeats(), *(job.params[name] for name in ("tile", "scale", "width", "height")))

_timetable.SEGMENT, upscale._enlarger = {segment}, enlarger
{before}
sys.exit(_job.run(upscale.upscale))
"""


def made_networks() -> Path:
    """A folder of checkpoints: rrdb, compact, other (compact, too), nearest, poisoned, cut, strange."""
    return once_apart("networks", "from tests.checkpoints import esrgan; esrgan.each_kind(folder)")


@pytest.fixture(scope="session")
def networks() -> Path:
    """The folder of checkpoints."""
    return made_networks()


def job(
    folder: Path,
    *inputs: Path,
    model: Path,
    suffix: str = "",
    more: Mapping[str, Path] | None = None,
    limits: Mapping[str, Any] | None = None,
    ease: int = 0,
    checkpoints: Path | None = None,
    **params: Any,
) -> list[str]:
    """Make a job directory as the runner would; returns the command. A suffix of "" is each input's own."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    models = {"model": model, **(more or {})}
    spec = {"id": "test", "service": "upscale", "params": PARAMS | params, "ease": ease, "models": [*models]}
    spec |= {"limits": LIMITS | dict(limits or {}), "items": (items := [])}
    for index, path in enumerate(inputs):
        place = folder / f"in/{index}{path.suffix}"
        place.symlink_to(path)
        items.append({"index": index, "input": f"in/{place.name}", "options": {"suffix": suffix or path.suffix}})
    for role, source in models.items():
        (folder / "models" / role).mkdir(parents=True)
        (folder / "models" / role / source.name).symlink_to(source)
    if checkpoints:
        shutil.copytree(checkpoints, folder / "in/checkpoints/0")
    (folder / "job.json").write_text(json.dumps(spec))
    return [sys.executable, str(SCRIPTS / "upscale.py"), "job.json"]


def quick_job(folder: Path, *inputs: Path, segment: int = 48, before: str = "", **options: Any) -> list[str]:
    """Make a job directory; returns the command that repeats pixels without any network, `segment` frames at a time.

    `before` is run first. What is about a network needs one, and seconds to load it; what is about the clip does not.
    """
    job(folder, *inputs, model=Path("/dev/null"), **options)
    return [sys.executable, "-c", QUICKLY.format(scripts=str(SCRIPTS), segment=segment, before=before), "job.json"]


def upscale(folder: Path, *inputs: Path, env: Mapping[str, str] | None = None, **options: Any) -> Run:
    """Run upscale.py on `inputs` in a new job directory."""
    return run(job(folder, *inputs, **options), folder, env)


def quickly(folder: Path, *inputs: Path, **options: Any) -> Run:
    """Run upscale.py without a network in a new job directory."""
    return run(quick_job(folder, *inputs, **options), folder)


def finished(work: Generator[float, None, Any]) -> Any:
    """What a generator returns at its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def run(command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> Run:
    """Run a command in a job directory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return Run(folder, done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)
