"""Rounds of a command that is stopped for a while, as a suspended machine or a debugger would."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress

import psutil

from broker.journal import Journal
from tests.kill.rounds import HANGS, Round
from tests.stopping import is_held_up

BEFORE_IT_STARTS = """
import os, runpy, signal, sys
from broker.agent import Agent

def start(*words, start=Agent.start):
    os.kill(os.getpid(), signal.SIGSTOP)
    return start(*words)

Agent.start = start
del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a command that stops itself just before it tells the target to start the job."""

PATIENCE = 20.0
"""Seconds after which a command is held up by one that was stopped in the middle of a transaction."""


class Paused(Round):
    """A round of a command that is stopped, and typed again meanwhile."""

    def pause_command(self, after: float, again: float, driving: bool) -> bool | None:
        """Stop the command, type it again `again` seconds later, then let the first go on: both end well.

        It is stopped `after` seconds from its start, or from when it drives the job. Returns whether the second came
        to its end while the first was stopped; None if the first did not drive the job then: nothing was in its way,
        or was in the middle of a transaction: that holds up all others.
        """
        first = self.start()
        if driving:
            self._await("lease", lambda: first.poll() is None)
        time.sleep(after)
        if first.poll() is None:
            self._strike(first.pid, signal.SIGSTOP)
        stopped, drove = time.time(), self._lease() is not None and first.poll() is None
        time.sleep(again)
        second, typed = self.start(), time.time()
        overtaken = _ends(second, PATIENCE) or (None if is_held_up(self._journal) else _ends(second, HANGS))
        first.send_signal(signal.SIGCONT)
        codes = first.wait(HANGS), second.wait(HANGS)
        if codes not in ((0, 0), self._too_late(stopped, typed)):
            self._lose(f"stopped after {after:.2f} s: the commands ended with {codes}")
        self.check_done()
        return overtaken if drove else None

    def pause_before_it_starts(self) -> None:
        """Stop the command just before its job starts; another does the job meanwhile. Nothing is begun anew."""
        first = self.start(before=("-c", BEFORE_IT_STARTS))
        if not self._comes(lambda: psutil.Process(first.pid).status() == psutil.STATUS_STOPPED):
            self._lose("it never came to start its job")
        code = self.start().wait(HANGS)
        first.send_signal(signal.SIGCONT)
        codes = first.wait(HANGS), code
        if codes != (0, 0):
            self._lose(f"stopped before it started its job: the commands ended with {codes}")
        self.check_done()
        if left := list((self._folder / "cache/local/jobs").iterdir()):
            self.tally.leftover.append(f"{self._name}: on the target {left}")

    def _too_late(self, stopped: float, typed: float) -> tuple[int, int] | None:
        """How the commands end when one came upon the finished work of the other: the result is there already."""
        job = self._job()
        if job is None:
            return None
        with Journal(self._journal) as journal:
            ending = journal.ending(job.id)
        if ending.created > stopped:
            return 2, 0
        return (0, 2) if (ending.ended or typed) < typed else None


def _ends(command: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        command.wait(seconds)
    return command.poll() is not None
