"""Interpreters on this machine and what they have. Run as a program, this file tells of the one that runs it."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Other names of manylinux_2_<minor>, which older wheels have (PEP 600)."""
NEWEST = 30
"""A Python 3 with a higher minor number than this is not looked for."""
TORCH = "torch"
DIST_INFO = ".dist-info"
WHEELS = "--wheels"
"""The word that this program is asked with for `wheels`; a package's name has no such beginning."""
PATIENCE = 20.0
"""Seconds an interpreter may take to tell of itself."""


class Interpreter(NamedTuple):
    """A Python: `packages` maps the names that were asked for to versions, or None; `modules` can be imported.

    `torch_cuda` is the version of CUDA that its torch, if asked for, was made for.
    """

    path: str
    version: str
    packages: Dict[str, Optional[str]]
    modules: List[str]
    torch_cuda: Optional[str] = None


def here(names: List[str]) -> Interpreter:
    """The interpreter that runs this."""
    from importlib.util import find_spec

    modules = [name for name in ("ensurepip", "virtualenv") if find_spec(name)]
    packages = {name: _version(name) for name in names}
    cuda = _torch_cuda() if packages.get(TORCH) else None
    return Interpreter(sys.executable, platform.python_version(), packages, modules, cuda)


def _version(name: str) -> Optional[str]:
    named = _by_folder(name)
    if named:
        return named
    from importlib import metadata  # takes longer to import than all else that comes before a script

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _by_folder(name: str) -> Optional[str]:
    """The version in the name of a distribution's folder, `<name>-<version>.dist-info`, as wheels are installed."""
    for place in sys.path:
        for folder in Path(place).glob("*" + DIST_INFO):
            found, _, version = folder.name[: -len(DIST_INFO)].partition("-")
            if _plain(found) == _plain(name) and (folder / "METADATA").is_file():
                return version or None
    return None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _torch_cuda() -> Optional[str]:
    # Read, as to import it takes seconds: `cuda: Optional[str] = '12.4'`
    import re
    from importlib.util import find_spec

    found = find_spec(TORCH)
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    text = file.read_text(encoding="utf-8", errors="replace") if file and file.is_file() else ""
    match = re.search(r"""^cuda\b[^=\n]*=\s*['"]([0-9.]+)['"]""", text, re.MULTILINE)
    return match.group(1) if match else None


def at(path: str, names: List[str]) -> Optional[Interpreter]:
    """The interpreter at `path`; None when it is none, or one too old or too broken to tell of itself."""
    told = _told(path, names)
    try:
        return Interpreter(path, told["version"], told["packages"], told["modules"], told.get("torch_cuda"))
    except (TypeError, KeyError):
        return None


def wheels_at(path: str) -> Optional[Dict[str, Any]]:
    """What `wheels` says of the interpreter at `path`."""
    told = _told(path, [WHEELS])
    return told if isinstance(told, dict) else None


def _told(path: str, words: List[str]) -> Any:
    import subprocess

    command, nothing = [path, str(Path(__file__).resolve()), *words], subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, timeout=PATIENCE)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def wheels() -> Optional[Dict[str, Any]]:
    """Which wheels the interpreter that runs this takes: {python, implementation, abi, platforms, the best first}.

    None where we cannot tell: of other Pythons than CPython.
    """
    if sys.implementation.name != "cpython":
        return None
    major, minor, micro = sys.version_info[:3]
    return {
        "python": "%d.%d.%d" % (major, minor, micro),
        "implementation": "cp",
        "abi": "cp%d%d%s" % (major, minor, sys.abiflags.replace("d", "")),  # a debug build takes the others' too
        "platforms": list(_platforms()),
    }


def _platforms() -> Iterator[str]:
    import re
    import sysconfig

    system = re.sub("[^A-Za-z0-9]", "_", sysconfig.get_platform())
    name, _, machine = system.partition("_")
    yield system
    # Without glibc (musl) a wheel with binaries of its own is not for us.
    for minor in range(_glibc() if name == "linux" else 0, 4 if machine in ("x86_64", "i686") else 16, -1):
        yield "manylinux_2_%d_%s" % (minor, machine)
        if minor in LEGACY:
            yield "%s_%s" % (LEGACY[minor], machine)


def _glibc() -> int:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()  # "glibc 2.36"
    except (ValueError, OSError):
        return 0
    return int(version.split(".")[1]) if name == "glibc" else 0


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
    print(json.dumps(wheels() if sys.argv[1:] == [WHEELS] else here(sys.argv[1:])._asdict()))
