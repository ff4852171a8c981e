"""Interpreters on this machine and what they have. Run as a program, this file tells of the one that runs it."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

NEWEST = 30
"""A Python 3 with a higher minor number than this is not looked for."""
PATIENCE = 20.0
"""Seconds an interpreter may take to tell of itself."""


class Interpreter(NamedTuple):
    """A Python: `packages` maps the names that were asked for to versions, or None; `modules` can be imported."""

    path: str
    version: str
    packages: Dict[str, Optional[str]]
    modules: List[str]


def here(names: List[str]) -> Interpreter:
    """The interpreter that runs this."""
    from importlib.util import find_spec

    modules = [name for name in ("ensurepip", "virtualenv") if find_spec(name)]
    return Interpreter(sys.executable, platform.python_version(), {name: _version(name) for name in names}, modules)


def _version(name: str) -> Optional[str]:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def at(path: str, names: List[str]) -> Optional[Interpreter]:
    """The interpreter at `path`; None when it is none, or one too old or too broken to tell of itself."""
    import subprocess

    command, nothing = [path, str(Path(__file__).resolve()), *names], subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, timeout=PATIENCE)
        told: Any = json.loads(done.stdout)
        return Interpreter(path, told["version"], told["packages"], told["modules"])
    except (OSError, ValueError, TypeError, KeyError, subprocess.TimeoutExpired):
        return None


def others(names: List[str]) -> Iterator[Interpreter]:
    """Interpreters on the path, the oldest first: pinned packages are the likeliest to have wheels for those."""
    for name in [*("python3.%d" % minor for minor in range(8, NEWEST)), "python3"]:
        path = program(name)
        found = at(path, names) if path else None
        if found is not None:
            yield found


def program(name: str) -> Optional[str]:
    """Path of a program. A login without a shell has a short path, so that uv's own folders are looked in too."""
    import shutil

    homes = [str(Path.home() / folder) for folder in (".local/bin", ".cargo/bin")]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *homes]))


if __name__ == "__main__":
    print(json.dumps(here(sys.argv[1:])._asdict()))
