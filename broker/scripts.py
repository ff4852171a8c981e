"""What goes to a target to run there: the runner, its neighbours and the job's script, and what the script needs."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from broker.errors import OffloadError


@dataclass(frozen=True)
class Bundle:
    """Files under one name made of their content: a target that has the name has the files."""

    id: str
    files: tuple[tuple[str, Path], ...]


@cache
def bundle(script: Path) -> Bundle:
    """Collect the project's remote scripts, and `script` beside them where it is not one of them."""
    found = {path.relative_to(folder()).as_posix(): path for path in sorted(folder().rglob("*.py"))}
    found.setdefault(script.name, script)
    digest = hashlib.sha256()
    for name, path in sorted(found.items()):
        content = _content(path)
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return Bundle(digest.hexdigest()[:24], tuple(sorted(found.items())))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OffloadError(f"{path} cannot be read: {error.strerror}", "install this program again") from error


@cache
def folder() -> Path:
    """Where `remote_scripts` lies: files to copy, never modules to import."""
    return Path(str(files("remote_scripts")))


def runner() -> Path:
    """The one program that is started on targets: for a bundle that is no job's."""
    return folder() / "runner.py"


def environment(script: Path, extras: tuple[str, ...], build: bool = False) -> dict[str, Any]:
    """What a script asks of its interpreter, from its header (PEP 723): what the runner calls an environment.

    `extras` name lists under the header's `[tool.offload.extras]`. With `build`, what the target lacks is installed
    there; without, it is an error, and `install` what to type. What `take-from-target` under `[tool.offload]` names is
    costly: where the target has it in a version that will do, it is not installed again.
    """
    header = read_header(script)
    ours = header.get("tool", {}).get("offload", {})
    optional = ours.get("extras", {})
    dependencies = [*header.get("dependencies", []), *(need for extra in extras for need in optional[extra])]
    return {
        "requires_python": header.get("requires-python", ""),
        "dependencies": dependencies,
        "install": "pip install " + " ".join(f"'{need}'" for need in dependencies),
        "take": ours.get("take-from-target", []),
        "build": build,
    }


def read_header(script: Path) -> dict[str, Any]:
    """Parse the script's PEP 723 block; empty where there is none. Raises OffloadError for a broken one."""
    lines = _content(script).decode("utf-8").splitlines()
    if "# /// script" not in lines:
        return {}
    start = lines.index("# /// script") + 1
    try:
        end = lines.index("# ///", start)
        return tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[start:end]))
    except (ValueError, tomllib.TOMLDecodeError) as error:
        raise OffloadError(f"{script.name} has a broken header: {error}") from error
