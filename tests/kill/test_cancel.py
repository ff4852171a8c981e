"""`offload jobs cancel`, typed in another shell: when it returns nothing of the job lives, not even what is deaf."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from broker.job import Job, State
from tests.executors.sshd import needs_sshd, running
from tests.kill.boxed import Boxed
from tests.kill.rounds import HANGS, Round
from tests.processes import environment

SEED = 50_000
FAMILY = 3
"""Processes of the job: its script, a child, and a grandchild in a session of its own that ignores SIGTERM."""


class Here(Round):
    """A job on this machine, which would take longer than anybody waits."""

    target = "local"

    def __init__(self, folder: Path, random: Random) -> None:
        super().__init__(folder, random, seconds=2 * HANGS)

    def cancel(self) -> float:
        """Cancel the job in the middle; returns the seconds from the typing to the end of its last process."""
        with self._at_work() as code:
            family = self._family()
            typed = time.monotonic()
            cancel = self._type(["-m", "offload", "jobs", "cancel", self._only.id])
            while any(map(_lives, family)) and cancel.poll() is None:
                time.sleep(0.005)
            took = time.monotonic() - typed
            assert cancel.wait(HANGS) == 0
            assert self._family() == [], "it returned before all was over"
            assert code() == 130
        assert self._only.state is State.CANCELLED
        assert list(self._media.iterdir()) == [self._source]
        return took

    @contextmanager
    def _at_work(self) -> Iterator[Callable[[], int]]:
        """The command, once the whole family is there; yields what waits for its exit code."""
        with self._machine(), self.start("--on", self.target) as command:
            try:
                assert self._comes(lambda: command.poll() is not None or any(map(_stubborn, self._family())))
                assert len(self._family()) == FAMILY
                yield lambda: command.wait(HANGS)
            finally:
                for process in (command, *self._family()):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()

    def _machine(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _family(self) -> list[psutil.Process]:
        return [process for process in self._processes() if "OFFLOAD_JOB" in environment(process)]

    @property
    def _only(self) -> Job:
        (job,) = self._jobs()
        return job


class There(Here, Boxed):
    """The same on a machine behind a real sshd."""

    target = "box"

    def __init__(self, folder: Path, random: Random) -> None:
        Boxed.__init__(self, folder, random)
        self._seconds = 2 * HANGS

    def _machine(self) -> AbstractContextManager[object]:
        return running(self._server)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stubborn(process: psutil.Process) -> bool:
    """Whether a process leads its session and ignores SIGTERM."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
        return os.getsid(process.pid) == process.pid and bool(ignored >> (signal.SIGTERM - 1) & 1)
    except (OSError, ValueError, IndexError):  # it is gone
        return False


places = pytest.mark.parametrize("place", [Here, pytest.param(There, marks=needs_sshd)])


def loop(place: type[Here], folder: Path, rounds: int) -> None:
    """Cancel so many jobs, one after the other."""
    took = [place(folder / f"{number}", Random(SEED + number)).cancel() for number in range(rounds)]
    middle, most = statistics.median(took), max(took)
    print(f"\ncancelled on {place.target}, gone after: {rounds} rounds, median {middle:.2f} s, max {most:.2f} s")


@places
def test_nothing_is_alive_when_cancel_returns(place: type[Here], tmp_path: Path) -> None:
    loop(place, tmp_path, 1)


@pytest.mark.soak
@places
def test_nothing_is_fifty_times(place: type[Here], tmp_path: Path) -> None:
    loop(place, tmp_path, 50)
