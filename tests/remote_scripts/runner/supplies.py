"""Jobs that need models, and where those may come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.hub import Hub, sha256
from tests.remote_scripts.runner.environments import events, job, verb
from tests.remote_scripts.runner.job import JOB, request, wait_for_end

NAME = "owner/tiny"
WEIGHTS = hashlib.shake_256(b"weights").digest(400_000)
FILES = {"config.json": b'{"layers": 2}', "sub/vocab.txt": b"a\nb\n", "model.safetensors": WEIGHTS}

SCRIPT = """
import hashlib, json, os, pathlib
found = sorted(path for path in pathlib.Path("models").rglob("*") if path.is_file())
files = {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
print(json.dumps({"type": "seen", "files": files, "environment": dict(os.environ)}), flush=True)
"""


def file(path: str, content: bytes, url: str = "", sized: bool = True) -> dict[str, Any]:
    """A file of a model, as a start's request has it."""
    return {"path": path, "sha256": sha256(content), "size": len(content) if sized else None, "url": url}


def model(
    revision: str, files: Mapping[str, bytes] = FILES, name: str = NAME, role: str = "model", sized: bool = True
) -> dict[str, Any]:
    """A repository's model."""
    listed = [file(path, content, sized=sized) for path, content in files.items()]
    return {"role": role, "name": "tiny", "source": f"hf:{name}", "revision": revision, "files": listed}


def published(hub: Hub, files: Mapping[str, bytes] = FILES, **options: Any) -> dict[str, Any]:
    """A model that the hub has."""
    return model(hub.publish(NAME, files, **options), files)


def linked(url: str, content: bytes, sized: bool = True) -> dict[str, Any]:
    """A model that is one file behind a URL."""
    files = [file(url.rpartition("/")[2], content, url, sized)]
    return {"role": "model", "name": "tiny", "source": url, "revision": "", "files": files}


def provide(root: Path, *models: dict[str, Any], offline: bool = False, name: str = JOB) -> Path:
    """Bring models to a new job, here and now. Returns its directory."""
    from _runner import models as supervised  # found once this package is

    folder = job(root, name)
    supervised.provide(root, folder, {"models": list(models), "offline": offline})
    return folder


def begin(root: Path, *models: dict[str, Any], offline: bool = False, name: str = JOB, **fields: Any) -> Path:
    """Start a job that tells what it sees of its models, as an executor would. Returns its directory."""
    (root / "scripts" / "v1" / "seen.py").write_text(SCRIPT)
    verb(root, "start", request(name, script="v1/seen.py", models=list(models), offline=offline, **fields))
    return root / "jobs" / name


def finished(folder: Path) -> dict[str, Any]:
    """What the script of a job saw: {files, environment}."""
    wait_for_end(folder)
    (seen,) = events(folder, "seen")
    return seen


def contents(folder: Path, role: str = "model") -> dict[str, bytes]:
    """The files of a model, as the script finds them."""
    top = folder / "models" / role
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def stored(root: Path) -> set[str]:
    """Names in the store."""
    return {path.name for path in (root / "models").iterdir()} if (root / "models").is_dir() else set()
