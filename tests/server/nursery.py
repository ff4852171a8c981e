"""Processes that begin where others have imported all they need: a server by `os.fork` starts in no time.

Each is a process of its own, as if `offload WORDS...` had been typed, and may be killed. Run as a module, this is the
process they come from.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from subprocess import DEVNULL
from typing import IO, Any

ROOT = Path(__file__).parents[2]
BYTES = 2**20  # an environment is less


class Forked:
    """`offload WORDS...` in the project's folder, its stderr in a file: as much of a `subprocess.Popen` as is used."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        reading, writing = os.pipe()
        with log.open("a") as said:
            self.pid = _nursery().ask({"words": words, "env": dict(env)}, [writing, said.fileno()])
        os.close(writing)
        self.stdout: IO[str] = os.fdopen(reading)
        self._code: int | None = None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless its end was waited for already."""
        if self._code is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Its exit code; a signal's number is negative. `timeout` is not looked at: tests have one of their own."""
        if self._code is None:
            self._code = _nursery().ask({"wait": self.pid})
        return self._code


class _Nursery:
    """The process they come from, which ends with this one."""

    def __init__(self) -> None:
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        typed = [sys.executable, "-m", "tests.server.nursery", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(typed, cwd=ROOT, env=_bare(), stdin=DEVNULL, pass_fds=[theirs.fileno()])
        self._turn = threading.Lock()

    def ask(self, what: Mapping[str, Any], files: Sequence[int] = ()) -> int:
        with self._turn:
            socket.send_fds(self._wire, [json.dumps(what).encode()], files)
            return int(self._wire.recv(BYTES))


def _bare() -> dict[str, str]:
    """The environment without what is one test's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}


@cache
def _nursery() -> _Nursery:
    return _Nursery()


def main(wire: socket.socket) -> None:
    """Fork who is asked for and tell of ends, until nobody asks any more."""
    from offload import main, serve
    from server import routes, run

    assert main and serve and run and routes.routers()  # all that is slow to import
    while True:
        message, files, _, _ = socket.recv_fds(wire, BYTES, 2)
        if not message:
            return
        asked = json.loads(message)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            wire.send(str(os.waitstatus_to_exitcode(status)).encode())
        elif pid := os.fork():
            wire.send(str(pid).encode())
            for file in files:
                os.close(file)
        else:
            wire.close()
            _begin(asked, files)


def _begin(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    """Be what was asked for, in a process that was forked for it."""
    from offload.main import main

    for number, file in enumerate(files, 1):
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1) for number in (1, 2))
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["offload", *asked["words"]]
    main()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
