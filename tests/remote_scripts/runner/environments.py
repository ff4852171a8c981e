"""Small environments to build, quickly and without the internet, and a uv whose pace a test sets."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from tests.remote_scripts.runner.job import JOB, request

FIRST, SECOND, THIRD = (JOB + word for word in ("first", "second", "third"))
INSTALL = "pip install 'tinypack==1.0'"
SCRIPT = "import json, tinypack; print(json.dumps({'type': 'log', 'message': tinypack.__file__}), flush=True)\n"

PACED_UV = """#!{python}
import os, subprocess, sys, time, zipfile
from pathlib import Path

folder = Path({folder!r})
with (folder / "said").open("a") as said:
    print(sys.argv[1], file=said)
if sys.argv[1] == "venv":
    base = sys.argv[sys.argv.index("--python") + 1]
    sys.exit(subprocess.run([base, "-m", "venv", "--without-pip", sys.argv[-1]]).returncode)
if not (folder / "go").exists():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "waits").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
if (folder / "fails").exists():
    sys.exit((folder / "fails").read_text())
python = Path(sys.argv[sys.argv.index("--python") + 1])
site = next(python.parents[1].glob("lib/python3*/site-packages"))
zipfile.ZipFile({wheel!r}).extractall(site)
"""


class PacedUv:
    """A program named uv that installs the tiny package, once it may, and fails with the words it is given."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self._path = folder / "bin" / "uv"
        self._path.parent.mkdir(parents=True)
        self._path.write_text(PACED_UV.format(python=sys.executable, folder=str(folder), wheel=str(wheel)))
        self._path.chmod(0o700)
        self.go()

    def go(self) -> None:
        (self.folder / "go").touch()

    def hold(self) -> None:
        (self.folder / "go").unlink()

    def fail(self, words: str) -> None:
        (self.folder / "fails").write_text(words)

    def waits(self) -> None:
        """Return once it is half done, and holds."""
        wait_for(self.folder / "waits")

    @property
    def installs(self) -> int:
        """How often it was asked to install."""
        return (self.folder / "said").read_text().split().count("pip")


def wait_for(path: Path, words: str = "") -> None:
    """Return once the file is there, and has the words."""
    for _ in range(6000):
        if path.exists() and words in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never came to that")


def wheel(
    folder: Path, name: str = "tinypack", version: str = "1.0", needs: tuple[str, ...] = (), tag: str = "py3-none-any"
) -> Path:
    """Make the wheel of a package that has nothing in it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    about = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        file.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        file.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path


def asked(**fields: Any) -> dict[str, Any]:
    """What a script that needs the tiny package asks for."""
    dependencies = {"requires_python": ">=3.8", "dependencies": ["tinypack==1.0"], "install": INSTALL}
    return {**dependencies, "build": True, **fields}


def job(root: Path, name: str) -> Path:
    """A job's directory, as its supervisor finds it."""
    folder = root / "jobs" / name
    folder.mkdir(parents=True)
    (folder / "wanted").touch()
    return folder


def start(root: Path, name: str, environment: dict[str, Any]) -> Path:
    """Start a job whose script imports the tiny package, detached. Returns its directory."""
    (root / "scripts" / "v1" / "tiny.py").write_text(SCRIPT)
    verb(root, "start", request(name, script="v1/tiny.py", environment=environment))
    return root / "jobs" / name


def verb(root: Path, name: str, asked_for: dict[str, Any]) -> dict[str, Any]:
    """Speak a verb of the runner under the root."""
    command = [sys.executable, str(root / "scripts" / "v1" / "runner.py"), name]
    done = subprocess.run(command, input=json.dumps(asked_for).encode(), capture_output=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert "error" not in answer, answer
    return answer


def blob(root: Path, path: Path) -> str:
    """Make a blob of a file."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (root / "blobs").mkdir(exist_ok=True)
    os.link(path, root / "blobs" / sha256)
    return sha256


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """A job's events of one type."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["type"] == kind]


def messages(folder: Path) -> list[str]:
    return [event["message"] for event in events(folder, "log")]
