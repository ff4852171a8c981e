"""Find and end every process of a job, whatever it did to hide.

A job's processes carry its id in their environment, so one that changed its session and was orphaned is found
all the same. Where there is no /proc (macOS), the process tree and its sessions have to do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Set, Tuple

COOKIE = "OFFLOAD_JOB"
"""Environment variable that marks a job's processes."""


def find(job: str) -> Set[int]:
    """Pids of the job's living processes, zombies left out."""
    if Path("/proc/self/environ").exists():
        return _marked(("%s=%s" % (COOKIE, job)).encode()) - {os.getpid()}
    return _marked_by_ps("%s=%s" % (COOKIE, job)) - {os.getpid()}


def end(job: str, grace: float) -> None:
    """SIGTERM to all, SIGKILL to what is left after `grace` seconds, until none is left."""
    _signal(find(job), signal.SIGTERM if grace > 0 else signal.SIGKILL)
    deadline = time.monotonic() + grace
    while True:
        left = find(job)
        if not left:
            return
        if time.monotonic() >= deadline:
            _signal(left, signal.SIGKILL)
        time.sleep(0.02)


def _signal(pids: Set[int], number: int) -> None:
    for pid in pids:
        # One that ended by itself, or that became another user's, is no longer ours to end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _marked(cookie: bytes) -> Set[int]:
    states = {int(entry.name): _stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    alive = {pid: parent for pid, (state, parent) in states.items() if state not in "ZX"}
    marked = {pid for pid in alive if cookie in _environ(pid)}
    return marked | _descendants(alive, marked)


def _descendants(parents: Dict[int, int], roots: Set[int]) -> Set[int]:
    found = set(roots)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found - roots
        found |= more


def _stat(entry: Path) -> Tuple[str, int]:
    try:
        # The command name may hold spaces and parentheses; the state is the first field after its last one.
        state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
    except OSError:
        return "X", 0
    return state, int(parent)


def _environ(pid: int) -> List[bytes]:
    try:
        return Path("/proc/%d/environ" % pid).read_bytes().split(b"\0")
    except OSError:
        return []


def _marked_by_ps(cookie: str) -> Set[int]:
    listing = subprocess.run(["ps", "-axEww", "-o", "pid=,command="], stdout=subprocess.PIPE, check=True).stdout
    lines = (line.split(None, 1) for line in listing.decode(errors="replace").splitlines())
    return {int(words[0]) for words in lines if len(words) == 2 and cookie in words[1].split()}
