# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Make what the target is in the mood for: `moods/made.SUFFIX` under its root, else the input's own content.

params: suffix. `moods/version` is told as a version, `moods/refuses` makes each input a bad one whose name it holds,
`moods/crash` ends the script, and with `moods/wait` an item waits for somebody to end it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from _job import BadInput, Item, Job, Result, run

WAIT_SECONDS = 300


def make(job: Job, item: Item) -> Result:
    """Make one output."""
    moods = Path("../../moods")
    if (version := moods / "version").exists():
        job.emit("versions", versions={"mood": version.read_text()})
    if (refuses := moods / "refuses").exists() and item.input.read_text() in refuses.read_text():
        raise BadInput("not in the mood for it")
    if (moods / "crash").exists():
        os._exit(3)
    made = item.out / f"made{job.params['suffix']}"
    mood = moods / made.name
    shutil.copyfile(mood if mood.exists() else item.input, made)
    if (moods / "wait").exists():
        time.sleep(WAIT_SECONDS)
    return Result((made,))


if __name__ == "__main__":
    sys.exit(run(make))
