"""Find and end every process of a job, whatever it did to hide.

A job's processes carry its id in their environment, so one that changed its session and was orphaned is found all
the same. One that cleared its environment too is found below its supervisor, which adopts orphans (Linux), as long
as that lives. Where there is no /proc (macOS), `ps` tells the same, less the environment of Apple's own programs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, NamedTuple, Set, Tuple

COOKIE = "OFFLOAD_JOB"
"""Environment variable that marks a job's processes."""
SUPERVISOR = "OFFLOAD_SUPERVISOR"
"""Environment variable that marks a job's supervisor, which is not one of the job's processes."""

PATIENCE = 5.0
"""Seconds after which a killed process is the kernel's affair: it hangs in a driver or on a dead disk."""


class _Process(NamedTuple):
    parent: int
    words: FrozenSet[str]


def find(job: str) -> Set[int]:
    """Pids of the job's living processes; zombies, its supervisor and this process left out."""
    table = _table()
    keepers, marked = _carrying(table, SUPERVISOR, job), _carrying(table, COOKIE, job)
    return _with_descendants(table, keepers | marked) - keepers - {os.getpid()}


def marked(job: str) -> Dict[str, str]:
    """Environment for the job's processes."""
    inherited = {name: value for name, value in os.environ.items() if name != SUPERVISOR}
    return {**inherited, COOKIE: job, "PYTHONUNBUFFERED": "1"}


def end(job: str, grace: float) -> None:
    """SIGTERM to all, SIGKILL to what is left after `grace` seconds, until none is left."""
    if grace > 0:
        _signal(find(job), signal.SIGTERM)
    deadline = time.monotonic() + grace
    # Twice: a process may fork and go between the listing of all and the look at it.
    while (left := find(job) or find(job)) and time.monotonic() < deadline + PATIENCE:
        if time.monotonic() >= deadline:
            _signal(left, signal.SIGKILL)
        time.sleep(0.02)


def end_supervisor(job: str) -> None:
    """SIGKILL the job's supervisor."""
    _signal(_carrying(_table(), SUPERVISOR, job), signal.SIGKILL)


def _signal(pids: Set[int], number: int) -> None:
    for pid in pids:
        # One that ended by itself, or that became another user's, is no longer ours to end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _carrying(table: Dict[int, _Process], name: str, job: str) -> Set[int]:
    return {pid for pid, process in table.items() if "%s=%s" % (name, job) in process.words}


def _with_descendants(table: Dict[int, _Process], roots: Set[int]) -> Set[int]:
    found = set(roots)
    while True:
        more = {pid for pid, process in table.items() if process.parent in found} - found
        if not more:
            return found
        found |= more


def _table() -> Dict[int, _Process]:
    return dict(_from_proc() if Path("/proc/self/environ").exists() else _from_ps())


def _from_proc() -> Iterator[Tuple[int, _Process]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                # The command name may hold spaces and parentheses; the state is the first field after the last one.
                state, parent = _read(entry / "stat").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    yield int(entry.name), _Process(int(parent), _environ(entry))


def _environ(entry: Path) -> FrozenSet[str]:
    try:
        return frozenset(_read(entry / "environ").split("\0"))
    except OSError:  # another user's
        return frozenset()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _from_ps() -> Iterator[Tuple[int, _Process]]:
    import subprocess  # slow to import, and not needed on Linux

    listing = ["ps", "-axEww", "-o", "pid=,ppid=,stat=,command="]
    output = subprocess.run(listing, stdout=subprocess.PIPE, check=True).stdout.decode(errors="replace")
    for pid, parent, state, *words in map(str.split, output.splitlines()):
        if "Z" not in state:
            yield int(pid), _Process(int(parent), frozenset(words))
