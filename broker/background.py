"""Processes of ours in the background: they outlive the command that starts them, and hold a lock it hands over."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

BOOT = "import sys; sys.path[0] = sys.argv.pop(1); from {module} import main; main()"
"""Finds this program wherever it was started from, and nothing of the user's folder."""


def spawn(module: str, log: Path, name: str, lock: int) -> None:
    """Start `main` of a module for `name`, with a lock that is held; what it says goes into `log`. Raises OSError.

    Its end is waited for, and no other child's: while this process lives, no zombie is left of it.
    """
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", BOOT.format(module=module), str(Path(__file__).parents[1]), name, str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            pass_fds=[lock],
        )
    threading.Thread(target=process.wait, name=f"the end of {name}", daemon=True).start()
