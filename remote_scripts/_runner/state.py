"""Whether a job lives: its supervisor holds a lock while it does, and leaves a last word when it goes.

created   nobody has started it, or its supervisor died before it began: starting it (again) is safe
running   its supervisor lives
ended     its supervisor has said how
lost      its supervisor is gone and left no word
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any, Dict, Optional

from _runner import layout


def of(folder: Path) -> str:
    """Name the state of the job in `folder`."""
    alive = is_alive(folder)  # asked first: a supervisor writes its last word before it goes
    if last_word(folder):
        return "ended"
    if alive:
        return "running"
    return "lost" if (folder / "status.json").exists() else "created"


def last_word(folder: Path) -> Optional[Dict[str, Any]]:
    """How the job ended; None while it has not."""
    status = layout.read_json(folder / "status.json")
    return status if isinstance(status, dict) and status.get("state") == "ended" else None


def is_alive(folder: Path) -> bool:
    """Whether the job's supervisor lives, or is being started this moment."""
    if not (folder / "lock").exists():
        return False
    # Shared, so that two who look do not take each other for a supervisor.
    lock = _try_lock(folder, fcntl.LOCK_SH)
    if lock is not None:
        os.close(lock)
    return lock is None


def seize(folder: Path) -> Optional[int]:
    """Take the job's lock; None when it is alive. Somebody who merely looks at the lock is waited for."""
    while not is_alive(folder):
        lock = _try_lock(folder, fcntl.LOCK_EX)
        if lock is not None:
            return lock
    return None


def _try_lock(folder: Path, mode: int) -> Optional[int]:
    descriptor = os.open(str(folder / "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def age(folder: Path) -> float:
    """Seconds since the supervisor's last heartbeat, by this machine's clock; 0 when there was none."""
    try:
        return max(0.0, time.time() - (folder / "status.json").stat().st_mtime)
    except FileNotFoundError:
        return 0.0
