"""Rounds of a job in the background: its follower is killed, and the next command starts another."""

from __future__ import annotations

import signal
import time

from broker.job import State
from tests.kill.rounds import HANGS, Round


class Detached(Round):
    """A round of a command that leaves its job to a follower."""

    def undisturbed(self) -> float:
        """Seconds from when the follower is there to the job's end, when nothing is killed."""
        self._detach()
        started = time.monotonic()
        self._check_seen_through("undisturbed")
        return time.monotonic() - started

    def kill_follower(self, number: signal.Signals, after: float) -> None:
        """Signal the follower `after` seconds from when it is there, and type something else: the job is done, once."""
        self._detach()
        if pid := self._follower():
            time.sleep(after)
            self._strike(pid, number)
        what = f"{number.name} to the follower after {after:.2f} s"
        if pid and not self._comes(lambda: self._follower() != pid):
            self._lose(f"{what}: it lives on")
        self._look(what)
        self._check_seen_through(what)
        self._check_made_once()
        if self._attempts() != [("local", "done")]:
            self.tally.doubled.append(f"{self._name}: attempts {self._attempts()}")

    def _detach(self) -> None:
        if (code := self.start("--detach").wait(HANGS)) != 0:
            self._lose(f"with --detach, the command ended with {code}")

    def _look(self, what: str) -> None:
        """Type any command that opens the journal."""
        job = self._job()
        words = self._random.choice([("ls",), ("show", job.id if job else ""), ("logs", job.id if job else "")])
        if (code := self._offload("jobs", *words)) != 0:
            self._lose(f"{what}: `jobs {words[0]}` ended with {code}")

    def _check_seen_through(self, what: str) -> None:
        if not self._comes(lambda: (job := self._job()) and job.state is State.DONE):
            self._lose(f"{what}: nobody saw the job through")
        self._comes(lambda: not self._follower())
        self.check_done()
