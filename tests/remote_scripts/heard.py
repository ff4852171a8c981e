"""Runs of the scripts that hear: sounds to hear, models to hear them with, and nobody to ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.once import once_apart

from .runs import LIMITS, Run
from .scripted import SCRIPTS

ROOT = SCRIPTS.parent
RATE = 16_000
SPEECH = ROOT.parent / "shared/data/speech-jfk.flac"
PARAMS = {
    "engine": "faster-whisper",
    "model": "tiny",
    "language": "auto",
    "translate": False,
    "format": ["txt", "srt", "vtt", "tsv", "json"],
    "word_timestamps": False,
    "vad": False,
    "initial_prompt": "",
    "compute_type": "float32",
    "beam_size": 1,
    "threads": 1,
    "window": 300,
}
MAKE = """
from tests.checkpoints.whisper import UNSURE, convert, write

for name, how in {"tiny": {"language": "de"}, "unsure": {"sure": UNSURE}, "english": {"english": True}}.items():
    convert(write(folder / f"{name}.pt", **how), folder / name)

import torch

other = torch.load(folder / "tiny.pt", weights_only=True)
other["dims"]["n_audio_layer"] = 3
torch.save(other, folder / "sizes.pt")
"""
ALONE = """
import socket, sys

def refuse(*arguments):
    print("CONNECTION", arguments, file=sys.stderr, flush=True)
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
for name in {missing!r}:
    sys.modules[name] = None
"""


@pytest.fixture(scope="session")
def models() -> Path:
    """Models, each as NAME.pt and as a folder NAME: `tiny`, which takes all for German, `unsure` and `english`.

    And sizes.pt, whose weights are of other sizes than it states.
    """
    return once_apart("whisper-models", MAKE)


def sound(path: Path, *pieces: tuple[float, float], hiss: float = 0) -> Path:
    """Write a tone that wavers as a voice does, piece by piece: (seconds, loudness 0-1), over a steady hiss."""
    parts = []
    for seconds, loudness in pieces:
        time = np.arange(round(seconds * RATE)) / RATE
        parts.append(loudness * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 4 * time)) / 2)
    whole = np.concatenate(parts)
    whole += hiss * np.random.default_rng(1).uniform(-1, 1, len(whole))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((whole * 32767).astype("<i2").tobytes())
    return path


def alone(folder: Path, *missing: str) -> dict[str, str]:
    """The environment of a process that reaches nobody, and finds no packages named `missing`."""
    place = folder / "alone"
    place.mkdir(parents=True, exist_ok=True)
    (place / "sitecustomize.py").write_text(ALONE.format(missing=missing))
    return {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}


def job(
    folder: Path, model: Path, *inputs: Path, limits: Mapping[str, float] | None = None, ease: int = 0, **params: Any
) -> Path:
    """Make a job directory for transcribe.py, as the runner would. Returns `folder`."""
    (folder / "in").mkdir(parents=True)
    (folder / "models").mkdir()
    place = folder / "models/model"
    if model.is_dir():
        place.symlink_to(model)
    else:
        place.mkdir()
        (place / model.name).symlink_to(model)
    items = []
    for index, path in enumerate(inputs):
        (folder / f"in/{index}{path.suffix}").symlink_to(path)
        items.append({"index": index, "input": f"in/{index}{path.suffix}", "options": {"format": "srt"}})
    spec = {"params": PARAMS | params, "limits": LIMITS | dict(limits or {}), "ease": ease, "models": ["model"]}
    (folder / "job.json").write_text(json.dumps({"id": "test", "service": "transcribe", **spec, "items": items}))
    return folder


def begin(folder: Path, *missing: str) -> subprocess.Popen[str]:
    """Start transcribe.py in its job directory, alone in the world."""
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, str(SCRIPTS / "transcribe.py"), "job.json"],
            cwd=folder,
            env={**os.environ, **alone(folder, *missing)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def finish(folder: Path, *missing: str) -> Run:
    """Run transcribe.py in its job directory. It asks nobody anything."""
    process = begin(folder, *missing)
    out, _ = process.communicate()
    log = (folder / "log").read_text()
    assert "CONNECTION" not in log, log
    return Run(folder, process.returncode, [json.loads(line) for line in out.splitlines()], log)


def transcribe(folder: Path, model: Path, *inputs: Path, **how: Any) -> Run:
    """Make a job and run it; the engine is the one that the model is for."""
    engine = "faster-whisper" if model.is_dir() else "whisper"
    return finish(job(folder, model, *inputs, **{"engine": engine} | how))


def made(run: Run, format_: str, index: int = 0) -> str:
    """The text of one output."""
    run.done(index)
    return (run.folder / f"out/{index}/transcript.{format_}").read_text("utf-8")
