"""Claims: who is making something that several ask for at once: a lock on a file.

The kernel frees it with its holder, however that dies. Nobody waits for one while holding another, and each holds one
at most: so no two wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from broker.lease import lock_now

AGAIN_SECONDS = 0.01


class Claim:
    """The claim that a file stands for, as `job` takes it."""

    def __init__(self, path: Path, job: str) -> None:
        self._path = path
        self._job = job
        self._lock: int | None = None
        self.holder = ""
        """The job that had it when it was last asked for."""

    def take(self) -> bool:
        """Take it, unless another has it. Where there can be no such file, nobody waits for anybody."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            while not (taken := self._tried()) and not self.holder:
                time.sleep(AGAIN_SECONDS)  # its holder has just come, and not said its name, or has just left
            return taken
        except OSError:
            return True

    def _tried(self) -> bool:
        with ExitStack() as closing:
            lock = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            closing.callback(os.close, lock)
            if not lock_now(lock, fcntl.LOCK_EX):
                self.holder = os.pread(lock, 100, 0).decode("ascii", "replace")
                return False
            self.holder = ""
            if not self._is_named(lock):
                return False
            os.ftruncate(lock, 0)
            os.pwrite(lock, self._job.encode(), 0)
            self._lock = lock
            closing.pop_all()
            return True

    def _is_named(self, lock: int) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(self._path.stat(), os.fstat(lock))
        return False

    def leave(self) -> None:
        """Let another have it."""
        if self._lock is None:
            return
        with suppress(OSError):  # a file that nobody has locked keeps nobody out
            self._path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None
