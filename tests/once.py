"""What is slow to make is made once in a run of the tests, by whichever of its processes comes first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp


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
