"""Rounds of a command that somebody waits for: it, or what works for it here, is killed."""

from __future__ import annotations

import signal
import time

from broker.job import State
from tests.kill.rounds import HANGS, POLITE, Round


class Attended(Round):
    """A round of a command that stays until its job is over."""

    def undisturbed(self) -> float:
        """Seconds that the command takes when nothing is killed."""
        started = time.monotonic()
        if (code := self.start().wait(HANGS)) != 0:
            self._lose(f"undisturbed, the command ended with {code}")
        took = time.monotonic() - started
        self.check_done()
        return took

    def kill_command(self, number: signal.Signals, after: float) -> None:
        """Signal the command; after SIGKILL, type it again."""
        command = self.start()
        time.sleep(after)
        if command.poll() is None:
            self._strike(command.pid, number)
        code = command.wait(HANGS)
        self._check_files(f"{number.name} to the command after {after:.2f} s")
        if number in POLITE:
            self._check_stopped(code, number)
            return
        self._check_again()

    def _check_again(self) -> None:
        """The same command ends what was begun, and only that."""
        job = self._job()
        done = job is not None and job.state is State.DONE
        code = self.start().wait(HANGS)
        if code != (2 if done else 0):
            self._lose(f"typed again, the command ended with {code}")
        self.check_done()
        self._check_made_once()

    def kill_part(self, role: str, number: signal.Signals, after: float) -> None:
        """Signal the runner or the script once it is there and `after` seconds have gone: the command goes on."""
        command = self.start()
        if pid := self._await(role, lambda: command.poll() is None):
            time.sleep(after)
            self._strike(pid, number)
        code = command.wait(HANGS)
        if code != 0:
            self._lose(f"{number.name} to the {role} {after:.2f} s after it came: the command ended with {code}")
        self.check_done()

    def stop_midway(self, number: signal.Signals) -> None:
        """Signal the command while its script is at work: there is no way but to stop."""
        command = self.start()
        self._await("script", lambda: command.poll() is None)
        command.send_signal(number)
        if (code := command.wait(HANGS)) != 130:
            self._lose(f"{number.name} at work: the command ended with {code}")
        self._check_stopped(130, number)
        if self._dest.exists():
            self._lose(f"{number.name} at work: it went on to the end")

    def interrupt_twice(self, after: float, between: float) -> None:
        """Ctrl-C, and again."""
        command = self.start()
        time.sleep(after)
        for _ in range(2):
            command.send_signal(signal.SIGINT)
            time.sleep(between)
        self._check_stopped(command.wait(HANGS), signal.SIGINT)
        self._check_files("two Ctrl-C")

    def _check_stopped(self, code: int, number: signal.Signals) -> None:
        job = self._job()
        # Before it listens, or after the job is over, a signal ends the command as it ends any program.
        allowed = (
            {130} if job and job.state is State.CANCELLED else {0, 130, -number} if job and job.state.over else None
        )
        if allowed and code not in allowed:
            self._lose(f"{number.name}: the command ended with {code}, job {job and job.state}")
        if job and job.state is State.RUNNING:
            self._lose(f"{number.name}: the job is still open")
        self._check_left()
