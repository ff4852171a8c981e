"""Processes in the background: no zombie is left of them, and nobody else's child is taken."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from broker import background
from tests.offload.background import until


def zombies() -> set[int]:
    return {one.pid for one in psutil.Process().children() if state(one) == psutil.STATUS_ZOMBIE}


def state(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # it was buried just now
        return process.status()
    return ""


def test_one_that_has_ended_leaves_no_zombie_and_takes_no_exit_code(tmp_path: Path) -> None:
    before = zombies()
    waited = [subprocess.Popen(["sh", "-c", f"exit {code}"]) for code in (7, 8)]
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        background.spawn("broker.standing", tmp_path / "log", "x", lock)  # which has no `main`
    finally:
        os.close(lock)
    until(lambda: b"ImportError" in (tmp_path / "log").read_bytes(), "its last words")
    until(lambda: zombies() - before == {one.pid for one in waited}, "its end")
    assert [one.wait() for one in waited] == [7, 8]
