"""Looking at living processes by what their environment carries."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil


def environment(process: psutil.Process) -> dict[str, str]:
    """Environment of a living process; empty for one that is dead or another user's."""
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except psutil.Error:
        return {}


def carrying(name: str, value: str) -> Iterator[psutil.Process]:
    """Living processes whose environment has `name` set to `value`."""
    return (process for process in psutil.process_iter() if environment(process).get(name) == value)


def of_job(remote: str) -> list[psutil.Process]:
    """Living processes of an attempt's script."""
    return list(carrying("OFFLOAD_JOB", remote))


def wait_for_script(remote: str, seconds: float = 30.0) -> psutil.Process:
    """The first process of an attempt's script, once there is one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := of_job(remote):
            return found[0]
        time.sleep(0.01)
    raise TimeoutError(f"no process of {remote}")


def told(processes: list[psutil.Process]) -> list[str]:
    """What a failure shows of processes: their state and what was typed."""
    return [f"{one.pid} {one.status()} {one.cmdline()}" for one in processes if one.is_running()]
