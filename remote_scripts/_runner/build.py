"""Building an environment: by uv where it is, else by venv or virtualenv and pip. The job's log gets their output.

uv knows nothing of pip's own settings, which may name the one index that can be reached from here: where uv can
download nothing, pip is tried too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from _runner import interpreters, layout, processes, requirements, taking
from _runner.interpreters import Interpreter
from _runner.layout import RunnerError
from _runner.taking import Taken

TELL = 5.0
"""Seconds between two words on how long it has taken."""
TICK = 0.05
RETRIES = 2
"""How often pip tries again to connect. It has to try: only then does it say that it could not connect."""

_FULL = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b", re.IGNORECASE)
_OFFLINE = re.compile(
    r"Retrying \(|error sending request|timed out|network timeout|network was disabled", re.IGNORECASE
)
_BOX = re.compile(r"[│╰╭├─▶×]+")
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.whl")


def base(environment: Dict[str, Any], taken: Optional[Taken] = None) -> str:
    """The interpreter to build on, or the version that uv is to find or fetch.

    Raises:
        RunnerError: kind `missing`.
    """
    return taken.python.path if taken else _base(environment).path


class _Way(NamedTuple):
    """Two commands: one makes an environment, the other installs into it."""

    make: List[str]
    install: List[str]


def build(folder: Path, job: Path, lock: int, environment: Dict[str, Any], taken: Optional[Taken] = None) -> None:
    """Make `folder`/venv. Whatever works on it holds the lock too, so that it is free only once they are all gone.

    Raises:
        RunnerError: kind `missing`, with what to type; `offline`, after an event `wants` that tells which wheels
            would do; `no_space`; `failed` when the job was cancelled.
    """
    found = taken.python if taken else _base(environment)
    installer = _Installer(folder, job, lock, environment, taken)
    installer.say("installing the environment%s" % _around(taken))
    try:
        _install(_ways(folder, found, environment, taken), installer, found)
    except RunnerError as error:
        if error.kind == "offline":
            _ask_for_wheels(folder, job, error, taken)
        raise
    installer.take()
    shutil.rmtree(str(folder / "tmp"))


def _around(taken: Optional[Taken]) -> str:
    known = ["%s %s" % pair for pair in taken.versions.items()] if taken else []
    return ", with %s that is there already" % " and ".join(known) if known else ""


def _install(ways: List[_Way], installer: "_Installer", found: Interpreter) -> None:
    way, *others = ways
    installer.run(way.make, "" if found.version else "uv python install '%s'" % found.path)
    installer.announce()
    try:
        if installer.environment["dependencies"]:
            installer.run(way.install)
    except RunnerError as error:
        if error.kind != "offline" or not others:
            raise
        installer.say("uv cannot download anything; trying pip")
        _install(others, installer, found)


def _ask_for_wheels(folder: Path, job: Path, error: RunnerError, taken: Optional[Taken]) -> None:
    wheels = interpreters.wheels_at(_python(folder))
    if wheels is None:  # there is not even a Python, or none that we know the wheels of
        raise RunnerError("missing", str(error)) from error
    # What is fixed need not be sent.
    report(job, {"type": "wants", "wheels": {**wheels, **({"taken": taken.fixed} if taken else {})}})


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


def _ways(folder: Path, found: Interpreter, environment: Dict[str, Any], taken: Optional[Taken]) -> List[_Way]:
    kept = taking.constraints(taken, folder / "tmp" / "taken.txt") if taken else []
    uv, packages = interpreters.program("uv"), [*_from_wheels(folder, environment), *kept, *environment["dependencies"]]
    if not uv:
        return [_by_pip(folder, found, packages)]
    ways = [_by_uv(uv, folder, found, packages)]
    return [*ways, _by_pip(folder, found, packages)] if found.modules else ways


def _by_uv(uv: str, folder: Path, found: Interpreter, packages: List[str]) -> _Way:
    make = [uv, "venv", "--no-project", "--no-progress", "--python", found.path, str(folder / "venv")]
    return _Way(make, [uv, "pip", "install", "--no-progress", "--python", _python(folder), *packages])


def _by_pip(folder: Path, found: Interpreter, packages: List[str]) -> _Way:
    quietly = ["--no-input", "--progress-bar", "off", "--disable-pip-version-check", "--retries", str(RETRIES)]
    make = [found.path, "-m", _maker(found), str(folder / "venv")]
    return _Way(make, [_python(folder), "-m", "pip", "install", *quietly, *packages])


def _python(folder: Path) -> str:
    return str(folder / "venv" / "bin" / "python")


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

    def __init__(self, folder: Path, job: Path, lock: int, environment: Dict[str, Any], taken: Optional[Taken]) -> None:
        self.environment = environment
        self._folder = folder
        self._job = job
        self._lock = lock
        self._taken = taken
        self._started = self._told = time.monotonic()
        (folder / "tmp").mkdir(exist_ok=True)

    def say(self, message: str) -> None:
        """Tell the job's follower."""
        say(self._job, message)

    def announce(self) -> None:
        """Tell installers of what is taken."""
        if self._taken:
            taking.announce(self._taken, self._folder / "venv")

    def take(self) -> None:
        """Take it, and see that it works: a library that it needs may be found only where it was."""
        if self._taken:
            taking.link(self._taken, self._folder / "venv")
            for module in taking.modules(self._taken):
                self.run([_python(self._folder), "-c", "import %s" % module])

    def run(self, command: List[str], hint: str = "") -> None:
        """Run one, and raise what it failed of. `hint` is what a person may type, if not what the script says."""
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
            self._explain(before, status, hint or self.environment["install"])

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
            self.say("installing the environment, %.0f s" % (self._told - self._started))

    def _explain(self, since: int, status: int, hint: str) -> None:
        check_wanted(self._job)
        with (self._job / "log.txt").open("rb") as log:
            log.seek(since)
            output = log.read().decode(errors="replace")
        if _FULL.search(output) or layout.is_full(self._folder):
            raise RunnerError("no_space", "the disk is full where the environment was being installed")
        said = telling(output) or "its installer ended with status %d" % status
        raise self._refusal(bool(_OFFLINE.search(output)), said, hint)

    def _refusal(self, offline: bool, said: str, hint: str) -> RunnerError:
        words = "the environment cannot be installed: %s%s; install with: %s"
        if self.environment.get("wheels"):
            return RunnerError("missing", words % ("the packages that were sent are not enough: ", said, hint))
        if offline:
            return RunnerError("offline", words % ("nothing can be downloaded: ", said, hint))
        return RunnerError("missing", words % ("", said, hint))


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
