"""Stopping a process for a while, where nobody else has to wait for it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil

PATIENCE = 5.0
"""Seconds that no transaction takes, unless its process is stopped."""


def stop(process: subprocess.Popen[bytes] | psutil.Process, journal: Path) -> None:
    """Stop a process, though not in the middle of a transaction: there it would hold up all others."""
    process.send_signal(signal.SIGSTOP)
    while is_held_up(journal):
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)


def is_held_up(journal: Path) -> bool:
    """Whether somebody stays in the middle of a transaction."""
    database = sqlite3.connect(journal, timeout=PATIENCE, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        database.close()
    return False
