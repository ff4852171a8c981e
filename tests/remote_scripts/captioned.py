"""What the tests of caption share: models made once, and frames of known colours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.once import once_apart

from .runs import Run, part
from .scripted import SCRIPTS, start

PARAMS = {"model": "tiny", "frames": 3, "format": ["json"], "trust_remote_code": False, "threads": 1}


MAKE = """
import sys
sys.modules["torchvision"] = None  # often broken, and of no use here
from tests.checkpoints import captioners
captioners.save(folder)
"""


@pytest.fixture(scope="session")
def captioners() -> Path:
    """The folder of the models of `tests.checkpoints.captioners`."""
    return once_apart("captioners", MAKE)


def frames(path: Path, *pictures: Image.Image) -> Path:
    """A file of frames, the first of them at half a second, then one a second."""
    with part("_frames").writing(path) as writer:
        for number, picture in enumerate(pictures):
            writer.add(number + 0.5, picture)
    return path


def scene(number: int, size: int = 384) -> Image.Image:
    """A picture unlike those of other numbers."""
    bands = Image.linear_gradient("L").resize((size, size)).rotate(37 * number)
    return Image.merge("RGB", [bands.point(lambda value, n=n: (value * (n + number) + 60 * n) % 256) for n in range(3)])


def caption(folder: Path, model: Path, *inputs: Path, env: dict[str, str] | None = None, **params: Any) -> Run:
    """Run caption.py on files of frames in a new job directory."""
    ease = params.pop("ease", 0)
    return start(
        "caption.py", folder, *inputs, params=PARAMS | params, models={"model": model}, env=env or {}, ease=ease
    )


def broken_torchvision(folder: Path, source: str) -> dict[str, str]:
    """An environment where `import torchvision` runs `source`."""
    (folder / "torchvision").mkdir(parents=True)
    (folder / "torchvision/__init__.py").write_text(source)
    return {"PYTHONPATH": str(folder)}


def inside(code: str, *words: Path, env: dict[str, str] | None = None) -> Any:
    """Run Python code beside the scripts, in a process of its own; returns the JSON it prints last."""
    path = os.pathsep.join([*([env["PYTHONPATH"]] if env and "PYTHONPATH" in env else []), str(SCRIPTS)])
    full = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {}), "PYTHONPATH": path}
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=full)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
