# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Pretend to prepare: of each input its first bytes.

params: bytes (so many), hold (a folder: an item waits until the file of its number is there), trouble (see `_fail`)
output: short.dat
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from _job import BadInput, Item, ItemError, Job, LimitExceeded, Result, run

HOLD_SECONDS = 300


def shorten(job: Job, item: Item) -> Result:
    """Prepare one input."""
    job.progress(item, 0.5)
    _hold(job.params.get("hold", ""), item)
    data = item.input.read_bytes()
    _fail(job.params.get("trouble", ""), data)
    short = item.out / "short.dat"
    short.write_bytes(data[: int(job.params["bytes"])])
    files = (short,) if job.params.get("trouble") != "two" else (short, item.input)
    return Result(files, {"bytes": len(data)})


def _hold(folder: str, item: Item) -> None:
    until = time.monotonic() + HOLD_SECONDS
    while folder and not Path(folder, str(item.index)).exists():
        if time.monotonic() > until:
            raise ItemError("nobody let go of it")
        time.sleep(0.01)


def _fail(trouble: str, data: bytes) -> None:
    if data.startswith(b"!bad_input"):
        raise BadInput("the input is not what it should be")
    if data.startswith(b"!limit"):
        raise LimitExceeded("the input is too long")
    if trouble == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "exit":
        os._exit(3)


sys.exit(run(shorten))
