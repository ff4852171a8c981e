"""Rounds on a real machine, `box`: its sshd is killed, all of it or the open connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from broker.job import Attempt
from broker.journal import Journal
from tests.executors.sshd import Server, running
from tests.kill.rounds import HANGS, Round

STAYS, MOVES = 100.0, 0.0
"""Seconds that a silent machine is waited for: the job stays there, or is moved at once."""

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class Boxed(Round):
    """A round with an sshd of its own, which is the target `box`."""

    def __init__(self, folder: Path, random: Random, grace_seconds: float = STAYS) -> None:
        super().__init__(folder, random, grace_seconds=grace_seconds)
        # What runs there is told by the same mark as what runs here.
        self._server = Server(folder / "sshd", {"PATH": PATH, "OFFLOAD_CACHE_DIR": str(folder / "cache")})
        (folder / "config").mkdir()
        lines = [f"{key} = {json.dumps(value)}" for key, value in self._server.options().items()]
        (folder / "config" / "targets.toml").write_text("\n".join(["[box]", *lines]))

    def undisturbed(self) -> float:
        """Seconds that the command takes when nothing is killed."""
        with running(self._server):
            started = time.monotonic()
            code = self.start("--on", "box,local").wait(HANGS)
            took = time.monotonic() - started
            self._check_moved(f"undisturbed, the command ended with {code}", code)
        return took

    def kill_for_a_moment(self, whole: bool, after: float, away: float) -> None:
        """Kill sshd `after` seconds from when the command is in touch; it is `away` for less than its grace.

        The job stays there, and is done there, in one attempt.
        """
        with running(self._server):
            command = self.start("--on", "box")
            if not self._in_touch(command):
                return
            time.sleep(after)
            self._kill(whole, command)
            time.sleep(away)
            self._be_back()
            code = command.wait(HANGS)
            what = f"sshd killed after {after:.2f} s, away {away:.2f} s: the command ended with {code}"
            self._check_stayed(what, code)

    def _in_touch(self, command: subprocess.Popen[bytes]) -> bool:
        """Wait until the command works on the machine. A busy one may not even have answered in time, and was left."""
        scripts = self._server.folder / "root" / "scripts"
        self._comes(lambda: scripts.exists() or command.poll() is not None)
        return scripts.exists()

    def kill_for_long(self, whole: bool, after: float) -> None:
        """Kill sshd `after` seconds from the start; nobody waits for it: the job is done here, and cleaned there."""
        with running(self._server):
            command = self.start("--on", "box,local")
            self._comes(lambda: self._server.sessions() or command.poll() is not None)
            time.sleep(after)
            self._kill(whole, command)
            code = command.wait(HANGS)
            self._be_back()
            self._check_moved(f"sshd killed for good after {after:.2f} s: the command ended with {code}", code)

    def _kill(self, whole: bool, command: subprocess.Popen[bytes]) -> None:
        connections = self._server.sessions()
        self.tally.struck = int(command.poll() is None and (whole or bool(connections)))
        if whole:
            self._server.kill()
        for process in connections:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _be_back(self) -> None:
        if self._server.process.poll() is not None:
            self._server.start()

    # What must hold

    def _check_stayed(self, what: str, code: int) -> None:
        if code != 0:
            self._lose(what)
        self._check_there()
        self.check_done()
        self._check_made_once()
        if self._attempts() != [("box", "done")]:
            self.tally.doubled.append(f"{self._name}: {what}, attempts {self._attempts()}")

    def _check_moved(self, what: str, code: int) -> None:
        if code != 0:
            self._lose(what)
        self._check_there()
        self.check_done()
        ways = [("box", "done")], [("local", "done")], [("box", "lost"), ("local", "done")]
        if self._attempts() not in ways:
            self.tally.doubled.append(f"{self._name}: attempts {self._attempts()}")

    def _check_there(self) -> None:
        """Nothing of a job is on the machine, but what is noted and can be cleaned: nobody waited only to tidy up."""
        if self._orphans() and (code := self._offload("targets", "clean", "box")) != 0:
            self._lose(f"`targets clean box` ended with {code}")
        if left := list((self._server.folder / "root").glob("jobs/*")):
            self.tally.leftover.append(f"{self._name}: on the machine {left}")
        if orphans := self._orphans():
            self.tally.leftover.append(f"{self._name}: orphans {orphans}")

    def _orphans(self) -> list[Attempt]:
        with Journal(self._journal) as journal:
            return journal.orphans()
