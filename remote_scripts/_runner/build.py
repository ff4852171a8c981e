"""Building an environment: by uv where it is, else by venv or virtualenv and pip. The job's log gets their output."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List

from _runner import interpreters, layout, processes, requirements
from _runner.interpreters import Interpreter
from _runner.layout import RunnerError

TELL = 5.0
"""Seconds between two words on how long it has taken."""
TICK = 0.05

_FULL = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b", re.IGNORECASE)
_OFFLINE = re.compile(r"Retrying \(|NewConnectionError|error sending request|dns error", re.IGNORECASE)
_BOX = re.compile(r"[│╰╭├─▶×]+")
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.whl")


def base(environment: Dict[str, Any]) -> str:
    """The interpreter to build on, or the version that uv is to find or fetch.

    Raises:
        RunnerError: kind `missing`.
    """
    return _base(environment).path


def build(folder: Path, job: Path, lock: int, environment: Dict[str, Any]) -> None:
    """Make `folder`/venv. Whatever works on it holds the lock too, so that it is free only once they are all gone.

    Raises:
        RunnerError: kind `missing`, with what to type; `no_space`; `failed` when the job was cancelled.
    """
    found, hint = _base(environment), environment["install"]
    installer = _Installer(folder, job, lock)
    make, install = _commands(folder, found, environment)
    installer.run(make, hint if found.version else "uv python install '%s'" % found.path)
    if environment["dependencies"]:
        installer.run(install, hint)
    shutil.rmtree(str(folder / "tmp"))


def _base(environment: Dict[str, Any]) -> Interpreter:
    requires = environment["requires_python"]
    here = interpreters.here([])
    for found in [here, *interpreters.others([])] if requires else [here]:
        if requirements.satisfies(found.version, requires):
            return found
    if interpreters.program("uv"):
        return Interpreter(_oldest(requires), "", {}, [])
    raise RunnerError("missing", _NO_PYTHON % (requires, here.version))


def _oldest(requires: str) -> str:
    # uv would fetch the newest in the range, for which pinned packages may have no wheels.
    versions = ("3.%d" % minor for minor in range(8, interpreters.NEWEST))
    return next((version for version in versions if requirements.satisfies(version, requires)), requires)


_NO_PYTHON = (
    "Python %s is needed and not installed there (only %s); install that, or uv, which fetches it; "
    "install with: python3 -m pip install --user uv"
)
_NO_VENV = (
    "%s cannot make environments: on Debian and Ubuntu its python3-venv package is missing; "
    "install with: sudo apt install python3-venv"
)


def _commands(folder: Path, found: Interpreter, environment: Dict[str, Any]) -> List[List[str]]:
    uv, venv = interpreters.program("uv"), str(folder / "venv")
    python = str(folder / "venv" / "bin" / "python")
    packages = [*_from_wheels(folder, environment), *environment["dependencies"]]
    if uv:
        make = [uv, "venv", "--no-project", "--no-progress", "--python", found.path, venv]
        return [make, [uv, "pip", "install", "--no-progress", "--python", python, *packages]]
    install = [python, "-m", "pip", "install", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    return [[found.path, "-m", _maker(found), venv], [*install, *packages]]


def _maker(found: Interpreter) -> str:
    if "ensurepip" in found.modules:
        return "venv"
    if "virtualenv" in found.modules:
        return "virtualenv"
    raise RunnerError("missing", _NO_VENV % found.path)


def _from_wheels(folder: Path, environment: Dict[str, Any]) -> List[str]:
    # For a target without the internet: wheels came here as blobs, and get their names back.
    wheels = environment.get("wheels") or []
    for wheel in wheels:
        if not _WHEEL.fullmatch(wheel["name"]):
            raise ValueError("not a wheel: %.200r" % wheel["name"])
        layout.link(layout.blob_path(folder.parents[1], wheel["blob"]), _wheels(folder) / wheel["name"])
    return ["--no-index", "--find-links", str(_wheels(folder))] if wheels else []


def _wheels(folder: Path) -> Path:
    (folder / "tmp" / "wheels").mkdir(parents=True, exist_ok=True)
    return folder / "tmp" / "wheels"


class _Installer:
    """Runs programs that build, one after the other, and tells the job's follower how long it takes."""

    def __init__(self, folder: Path, job: Path, lock: int) -> None:
        self._folder = folder
        self._job = job
        self._lock = lock
        self._started = self._told = time.monotonic()
        (folder / "tmp").mkdir(exist_ok=True)
        say(job, "installing the environment")

    def run(self, command: List[str], hint: str) -> None:
        """Run one, and raise what it failed of. `hint` is what a person may type instead."""
        check_wanted(self._job)
        with (self._job / "log.txt").open("ab") as log:
            before = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                command,
                cwd=str(self._folder),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self._lock],
            )
        status = self._await(process)
        if status:
            self._explain(before, status, hint)

    def _environment(self) -> Dict[str, str]:
        # A temporary folder of its own goes with what is half-built; packages belong in the environment alone.
        return {**processes.marked(self._job.name), "TMPDIR": str(self._folder / "tmp"), "PIP_USER": "0"}

    def _await(self, process: "subprocess.Popen[bytes]") -> int:
        while True:
            try:
                return process.wait(TICK)
            except subprocess.TimeoutExpired:
                self._tell()
            if not (self._job / "wanted").exists():
                processes.end(self._job.name, grace=0)

    def _tell(self) -> None:
        if time.monotonic() - self._told >= TELL:
            self._told = time.monotonic()
            say(self._job, "installing the environment, %.0f s" % (self._told - self._started))

    def _explain(self, since: int, status: int, hint: str) -> None:
        check_wanted(self._job)
        with (self._job / "log.txt").open("rb") as log:
            log.seek(since)
            output = log.read().decode(errors="replace")
        if _FULL.search(output) or layout.is_full(self._folder):
            raise RunnerError("no_space", "the disk is full where the environment was being installed")
        offline = "nothing can be downloaded: " if _OFFLINE.search(output) else ""
        words = "the environment cannot be installed: %s%s; install with: %s"
        said = telling(output) or "its installer ended with status %d" % status
        raise RunnerError("missing", words % (offline, said, hint))


def telling(output: str) -> str:
    """The words of pip or uv that say what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith(("error:", "×"))]
    pip = [line[len("ERROR: ") :] for line in lines if line.startswith("ERROR: ")]
    words = pip[-1:] or (lines[errors[-1] :] if errors else lines[-1:])
    # Nothing in it may look like the command that comes after it.
    return " ".join(_BOX.sub(" ", " ".join(words)).replace("with: ", "with ").split())[:400]


def check_wanted(job: Path) -> None:
    """Raise when the job was cancelled."""
    if not (job / "wanted").exists():
        raise RunnerError("failed", "cancelled while the environment was being installed")


def say(job: Path, message: str) -> bool:
    """Tell the job's follower."""
    report(job, {"type": "log", "message": message})
    return True


def report(job: Path, event: Dict[str, Any]) -> None:
    """Append an event to those of the job; a whole line or, on a full disk, nothing."""
    line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
    with (job / "events.jsonl").open("ab", buffering=0) as events:
        before = events.seek(0, os.SEEK_END)
        try:
            written = events.write(line)
        except OSError as error:
            if error.errno not in layout.FULL:
                raise
            written = 0
        if written != len(line):
            events.truncate(before)
