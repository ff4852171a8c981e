"""A script that does what `params.steps` of its job says: a list of [step, *arguments]. Any Python >= 3.8.

It keeps the contract of every script (job.json in, events out) without importing anything of the project.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.write(1, b'{"type":"pid","pid":%d}\\n' % os.getpid())
time.sleep(600)
"""
SPAWN = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True)"


def event(**fields):
    """Print one event."""
    print(json.dumps(fields, separators=(",", ":")), flush=True)


def raw(text):
    """Print bytes as they are, each given as a character."""
    sys.stdout.buffer.write(text.encode("latin-1"))
    sys.stdout.buffer.flush()


def flood(lines, width):
    """Print many events."""
    for number in range(lines):
        print(json.dumps({"type": "log", "number": number, "message": "x" * width}))


def await_(name):
    """Wait for a file in the job's directory."""
    while not Path(name).exists():
        time.sleep(0.02)


def stubborn(environment):
    """Leave a grandchild in a session of its own that ignores SIGTERM, with our environment or none."""
    env = None if environment == "inherited" else {}
    subprocess.run([sys.executable, "-c", SPAWN, STUBBORN], env=env, start_new_session=True, check=True)


def polite():
    """On SIGTERM, say so and go."""
    signal.signal(signal.SIGTERM, lambda number, frame: (event(type="log", message="saved"), sys.exit(0)))
    event(type="pid", pid=os.getpid())


def secret(name):
    """Tell the hash of an environment variable, never its value."""
    event(type="log", message=hashlib.sha256(os.environ[name].encode()).hexdigest())


def digest(path):
    """Tell the hash of a file."""
    event(type="log", message=hashlib.sha256(Path(path).read_bytes()).hexdigest())


def listing():
    """Tell every file in the job's directory."""
    event(type="log", files=sorted(path.as_posix() for path in Path().rglob("*")))


def write(path, size):
    """Write a file of zeros."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("ab") as file:
        for _ in range(0, size, 65536):
            file.write(bytes(65536))
            file.flush()


STEPS = {
    "event": lambda fields: event(**fields),
    "raw": raw,
    "flood": flood,
    "await": await_,
    "stubborn": stubborn,
    "polite": polite,
    "secret": secret,
    "digest": digest,
    "listing": listing,
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
