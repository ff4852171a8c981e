"""A script that does what `params.steps` of its job says: a list of [step, *arguments]. Any Python >= 3.8.

It keeps the contract of every script (job.json in, events out) without importing anything of the project.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.write(1, b'{"type":"pid","pid":%d}\\n' % os.getpid())
time.sleep(600)
"""
SPAWN = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True)"


def event(**fields: object) -> None:
    """Print one event."""
    print(json.dumps(fields, separators=(",", ":")), flush=True)


def raw(text: str) -> None:
    """Print bytes as they are, each given as a character."""
    sys.stdout.buffer.write(text.encode("latin-1"))
    sys.stdout.buffer.flush()


def flood(lines: int, width: int) -> None:
    """Print many events."""
    for number in range(lines):
        print(json.dumps({"type": "log", "number": number, "message": "x" * width}))


def await_(name: str) -> None:
    """Wait for a file in the job's directory, though not for ever: a failed test never writes it."""
    for _ in range(30_000):
        if Path(name).exists():
            return
        time.sleep(0.02)
    sys.exit(f"nobody wrote {name}")


def stubborn(environment: str) -> None:
    """Leave a grandchild in a session of its own that ignores SIGTERM, with our environment or none."""
    env: dict[str, str] | None = None if environment == "inherited" else {}
    subprocess.run([sys.executable, "-c", SPAWN, STUBBORN], env=env, start_new_session=True, check=True)


def polite() -> None:
    """On SIGTERM, say so and go."""

    def save(number: int, frame: object) -> None:
        event(type="log", message="saved")
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    event(type="pid", pid=os.getpid())


def secret(name: str) -> None:
    """Tell the hash of an environment variable, never its value."""
    event(type="log", message=hashlib.sha256(os.environ[name].encode()).hexdigest())


def digest(path: str) -> None:
    """Tell the hash of a file."""
    event(type="log", message=hashlib.sha256(Path(path).read_bytes()).hexdigest())


def listing() -> None:
    """Tell every file in the job's directory."""
    event(type="log", files=sorted(path.as_posix() for path in Path().rglob("*")))


def is_open(descriptor: int) -> bool:
    """Whether a descriptor is one of ours."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def write(path: str, size: int) -> None:
    """Write a file of zeros."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("ab") as file:
        for _ in range(0, size, 65536):
            file.write(bytes(65536))
            file.flush()


STEPS: dict[str, Callable[..., Any]] = {
    "event": lambda fields: event(**fields),
    "raw": raw,
    "flood": flood,
    "await": await_,
    "stubborn": stubborn,
    "polite": polite,
    "secret": secret,
    "digest": digest,
    "listing": listing,
    "descriptors": lambda: event(type="log", descriptors=[n for n in range(200) if is_open(n)]),
    "write": write,
    "sleep": time.sleep,
    "exit": sys.exit,
    "pid": lambda: event(type="pid", pid=os.getpid()),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}

if __name__ == "__main__":
    with Path("runs").open("a") as runs:
        print(os.getpid(), file=runs)
    for step, *arguments in json.loads(Path(sys.argv[1]).read_text())["params"]["steps"]:
        STEPS[step](*arguments)
