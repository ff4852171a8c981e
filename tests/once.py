"""What is slow to make is made once in a run of the tests, by whichever of its processes comes first."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp

ROOT = Path(__file__).parents[1]


@cache
def _run() -> Path:
    """A folder that this run's processes share."""
    name = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = Path(gettempdir(), f"offload-tests-{name}") if name else Path(mkdtemp(prefix="offload-tests-"))
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder of that name, to be read only; `make` fills it, if nobody has yet."""
    place = _run() / name
    with (_run() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            draft = Path(mkdtemp(dir=_run()))
            make(draft)
            draft.rename(place)
    return place


def once_apart(name: str, code: str) -> Path:
    """The same, filled by Python code that knows it as `folder`, in a process of its own: this one loads no torch."""

    def make(folder: Path) -> None:
        words = f"from pathlib import Path; folder = Path({str(folder)!r}); {code}"
        subprocess.run([sys.executable, "-c", words], check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})

    return once(name, make)
