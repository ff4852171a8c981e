"""Packages for a target that can download nothing: its wheels are fetched here, by this machine's pip, and kept.

pip judges the conditions that packages put on their own dependencies (`; python_version < "3.12"`) by the Python that
runs it, which is ours. Where the target's would say otherwise, its installer finds that something is lacking, and says
what.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from broker.errors import Interrupted, MissingHere
from broker.stop import Stop

LIMIT_SECONDS = 3600.0
"""What all downloads of a job may take: three gigabytes, which is a torch with its CUDA, at 7 Mbit/s."""
TICK = 0.05
RETRIES = 2
"""How often pip tries again to connect. It has to try: only then does it say that it could not connect."""
DRAFT = ".tmp"
MOST_PLATFORMS, MOST_TAKEN = 200, 200

_PYTHON = re.compile(r"3\.\d{1,2}\.\d{1,3}")
_ABI = re.compile(r"cp3\d{1,2}t?")
_PLATFORM = re.compile(r"[A-Za-z0-9_]{1,64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+!_]{0,63}")


@dataclass(frozen=True)
class Wants:
    """The wheels that a target's interpreter takes: its version, its abi (`cp311`), its platforms, the best first.

    `taken` are packages it has already, in the versions that have to do: they need not be sent.
    """

    python: str
    abi: str
    platforms: tuple[str, ...]
    taken: tuple[tuple[str, str], ...] = ()


def read(told: Mapping[str, Any]) -> Wants:
    """Make a value of what a target said. Raises KeyError, TypeError or ValueError where it makes no sense."""
    platforms = [_like(_PLATFORM, name) for name in told["platforms"]]
    taken = [(_like(_NAME, name), _like(_VERSION, version)) for name, version in dict(told.get("taken", {})).items()]
    if told["implementation"] != "cp" or not 0 < len(platforms) <= MOST_PLATFORMS or len(taken) > MOST_TAKEN:
        raise ValueError(told)
    return Wants(_like(_PYTHON, told["python"]), _like(_ABI, told["abi"]), tuple(platforms), tuple(sorted(taken)))


def _like(pattern: re.Pattern[str], word: str) -> str:
    if not pattern.fullmatch(word):
        raise ValueError(word)
    return word


def collect(dependencies: Sequence[str], wants: Wants, cache: Path, stop: Stop) -> list[Path]:
    """Wheels of `dependencies` and of all that they need, from the folder `cache`, or else downloaded into it.

    What was asked for before is not downloaded again. Takes at most `LIMIT_SECONDS`.

    Raises:
        MissingHere: this machine cannot get them either, or cannot keep them; what to type is its hint.
        Interrupted: `stop` was requested. Nothing of the download is left then, as after a KeyboardInterrupt.
    """
    kept = cache / _key(dependencies, wants)
    try:
        if not kept.exists():
            cache.mkdir(parents=True, exist_ok=True)
            _sweep(cache)
            _download(dependencies, wants, kept, stop)
        return sorted(kept.iterdir())
    except OSError as error:
        hint = "make room there, or name another folder in OFFLOAD_CACHE_DIR"
        raise MissingHere(f"packages cannot be kept in {cache}: {error.strerror}", hint) from error


def _key(dependencies: Sequence[str], wants: Wants) -> str:
    return hashlib.sha256(json.dumps([sorted(dependencies), asdict(wants)]).encode()).hexdigest()


def _sweep(cache: Path) -> None:
    for draft in cache.glob(f"*{DRAFT}"):
        if time.time() - draft.stat().st_mtime > 2 * LIMIT_SECONDS:  # its maker was killed
            shutil.rmtree(draft, ignore_errors=True)


def _download(dependencies: Sequence[str], wants: Wants, kept: Path, stop: Stop) -> None:
    if find_spec("pip") is None:
        words = "pip is not installed here, to get packages for a machine that cannot download any"
        raise MissingHere(words, f"{sys.executable} -m ensurepip")
    with tempfile.TemporaryDirectory(dir=kept.parent, suffix=DRAFT) as draft:
        wheels, log = Path(draft, "wheels"), Path(draft, "log.txt")
        wheels.mkdir()
        status = _run_without_taken(dependencies, wants, wheels, log, stop) if wants.taken else 1
        if status:  # or what is there does not go with the rest: then the target does without it
            status = _run(_command(dependencies, wants, wheels), log, stop)
        if status:
            raise _refusal(log.read_text("utf-8", "replace"), dependencies, wants)
        os.sync()  # the name must not outlive a power cut that the content does not
        _rename(wheels, kept)


def _run_without_taken(dependencies: Sequence[str], wants: Wants, wheels: Path, log: Path, stop: Stop) -> int:
    # An empty wheel stands for each, so that pip takes the rest to go with it.
    folder = wheels.with_name("taken")
    folder.mkdir()
    empty = [_empty(folder, name, version) for name, version in wants.taken]
    status = _run(_command([*dependencies, *map(str, empty)], wants, wheels), log, stop)
    for wheel in empty:
        (wheels / wheel.name).unlink(missing_ok=True)
    return status


def _empty(folder: Path, name: str, version: str) -> Path:
    about = f"{name.replace('-', '_')}-{version}"
    wheel = folder / f"{about}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{about}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{about}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}.dist-info/RECORD", "")
    return wheel


def _rename(wheels: Path, kept: Path) -> None:
    try:
        wheels.rename(kept)
    except OSError:
        if not kept.exists():  # else somebody else was quicker
            raise


def _command(dependencies: Sequence[str], wants: Wants, wheels: Path) -> list[str]:
    temporary = ["/usr/bin/env", f"TMPDIR={wheels.parent}"]  # so that what a killed pip leaves goes too
    pip = [sys.executable, "-P", "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
    quietly = ["--progress-bar", "off", "--retries", str(RETRIES), "--dest", str(wheels)]
    python = ["--python-version", wants.python, "--implementation", "cp", "--abi", wants.abi]
    platforms = [f"--platform={name}" for name in wants.platforms]
    return [*temporary, *pip, *quietly, "--only-binary=:all:", *python, *platforms, "--", *dependencies]


def _run(command: Sequence[str], log: Path, stop: Stop) -> int:
    deadline = time.monotonic() + LIMIT_SECONDS
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while (status := process.poll()) is None:
            _check(stop, deadline)
            time.sleep(TICK)
        return status
    finally:
        _end(process)


def _check(stop: Stop, deadline: float) -> None:
    if stop.requested:
        raise Interrupted("stopped while packages were being downloaded")
    if time.monotonic() > deadline:
        raise MissingHere(f"packages could not be downloaded here within {LIMIT_SECONDS / 60:.0f} minutes")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _refusal(output: str, dependencies: Sequence[str], wants: Wants) -> MissingHere:
    if "No space left on device" in output:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = output.strip().splitlines() or ["pip said nothing"]
    said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines
    if "Retrying (" in output:
        hint = [sys.executable, "-m", "pip", "download", "--dest", tempfile.gettempdir(), *dependencies]
        return MissingHere(f"this machine cannot download packages either: {said[-1]}", shlex.join(hint))
    which = f"wheels for Python {wants.python} on {', '.join(wants.platforms[:2])}"
    return MissingHere(f"this machine found no {which}: {said[-1]}", shlex.join(["pip", "install", *dependencies]))
