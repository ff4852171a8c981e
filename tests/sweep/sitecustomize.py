"""Loaded by every Python of a target that the sweep breaks: the Nth operation of the processes of one role fails.

The environment variable `SEAMS` names a folder that all of them share. `fail` holds the role, N and the error's number;
each role has a file with a letter for each of its operations: its length is how many there were, whoever did them.
"""

import os
import posix
import sys

from seams import Seams, Written


class Shared(Seams):
    """Seams that are counted together with those of the role's other processes."""

    def __init__(self, folder: str, role: str, nth: int, number: int) -> None:
        super().__init__(nth, number)
        self._folder, self._role = folder, role
        self._latest: tuple[str, str] | None = None

    def strike(self, what: str, on: object) -> None:
        """An operation is about to be done: raise, if its turn has come.

        What is written to a file bit by bit leaves its buffer in one operation. Looks at other processes do not count:
        there are as many as the machine has processes.
        """
        before, self._latest = self._latest, (what, str(on))
        if str(on).startswith("/proc/") or (what == "write" and before == self._latest):
            return
        if self._noted(self._role, what[:1]) == self._nth:
            self._noted("met", f"{what} {on}")
            raise self._error(what, on)

    def _noted(self, name: str, words: str) -> int:
        # What is appended comes in one piece, so that where it ended is a number nobody else has.
        file = posix.open(f"{self._folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            posix.write(file, words.encode())
            return posix.lseek(file, 0, os.SEEK_CUR)
        finally:
            posix.close(file)


def role(words: list[str]) -> str:
    """What a process is by its command line: a verb of the runner's, `supervise`, or `script`; empty for any other."""
    if words[0].endswith("/runner.py"):
        return words[1]
    return "script" if words[-1] == "job.json" else ""


if "SEAMS" in os.environ and role(sys.argv):
    with open(f"{os.environ['SEAMS']}/fail") as _file:  # noqa: PTH123
        _role, _nth, _number = _file.read().split()
    _seams = Shared(os.environ["SEAMS"], role(sys.argv), int(_nth) if _role == role(sys.argv) else 0, int(_number))
    _seams.__enter__()
    sys.stdout = Written(sys.stdout, _seams, "stdout")
