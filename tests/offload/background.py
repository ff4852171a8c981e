"""Jobs in the background and commands under way, as tests see them."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from broker import settings
from broker.background import BOOT
from broker.broker import Broker
from broker.errors import OffloadError
from offload import jobs
from tests.processes import carrying, of_job
from tests.services.typed import FAKEWORK, OFFLOAD, Said, Word, environment, type_

FOLLOWER = BOOT.format(module="broker.followers")

HANGS = 120.0
"""Seconds after which something that should have happened has not."""

LONG = ("--seconds", "600")
"""Longer than any test."""


def until(true: Callable[[], object], what: str | Callable[[], str]) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + HANGS
    while not true():
        assert time.monotonic() < deadline, f"never: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)


class Stage:
    """A folder with commands under way in it, and the jobs they made."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self._hold = here.with_name("hold")
        self._hold.mkdir()
        self._commands: list[subprocess.Popen[bytes]] = []

    @property
    def held(self) -> tuple[Word, ...]:
        """Options of a job that is over when the test says so: each of its items waits half-way until it may go on."""
        return ("--seconds", "0", "--hold", self._hold)

    def go_on(self, item: int = 0) -> None:
        """Let an item of held jobs go on."""
        (self._hold / str(item)).touch()

    def work(self, *words: Word) -> Said:
        """Type the command of the fake work, and wait for its end."""
        return type_([*FAKEWORK, *words], self.here)

    def detach(self, *words: Word) -> str:
        """Type it with --detach; returns the job's id."""
        said = self.work("--detach", *words)
        assert said.code == 0, said.err
        [job] = said.lines
        return job

    def start(self, *words: Word, command: Sequence[Word] = FAKEWORK) -> subprocess.Popen[bytes]:
        """Type a command and do not wait for it."""
        pipe = subprocess.PIPE
        self._commands.append(
            subprocess.Popen([*command, *words], cwd=self.here, env=environment(), stdout=pipe, stderr=pipe)
        )
        return self._commands[-1]

    def attach(self, job: str, *words: Word) -> subprocess.Popen[bytes]:
        """Attach to a job and do not wait for it."""
        return self.start("attach", job, *words, command=(*OFFLOAD, "jobs"))

    def watch(self, job: str, *words: Word) -> subprocess.Popen[bytes]:
        """Attach to a driven job, and wait until that is known."""
        watcher = self.attach(job, *words)
        said_so(watcher, b"watching it")
        return watcher

    def latest(self) -> str:
        """The latest job, once there is one at work."""
        until(lambda: [job for job in _jobs() if at_work(job)], "a job at work")
        return _jobs()[0]

    def end(self) -> None:
        """Let nothing outlive the test."""
        for command in self._commands:
            if command.poll() is None:
                command.kill()
            command.communicate()
        with Broker(settings.load()) as broker:
            for job in broker.journal.open_jobs():
                with suppress(OffloadError):  # it has ended meanwhile
                    broker.cancel(job)
        until(lambda: not followers(), "the followers' end")


@pytest.fixture
def stage(here: Path, data: Path) -> Iterator[Stage]:
    """The folder to type in, with `a.dat`, where jobs may go on in the background."""
    stage = Stage(here)
    yield stage
    stage.end()


def said_so(command: subprocess.Popen[bytes], words: bytes) -> str:
    """Wait until a command has said a line with these words on stderr; returns all it had said by then."""
    assert command.stderr is not None
    said = b""
    for line in command.stderr:
        said += line
        if words in line:
            return said.decode()
    raise AssertionError(f"{words!r} was never said: {said!r}")


def finish(command: subprocess.Popen[bytes]) -> Said:
    """Wait for a command's end. What was read of it before is not in what it said."""
    out, err = command.communicate(timeout=HANGS)
    assert b"Traceback" not in err, err.decode()
    return Said(command.returncode, out, err.decode())


def interrupt(command: subprocess.Popen[bytes]) -> Said:
    """Ctrl-C, and what comes of it."""
    command.send_signal(signal.SIGINT)
    return finish(command)


def _jobs() -> list[str]:
    with Broker(settings.load()) as broker:
        return [job.id for job in broker.journal.jobs()]


def state(job: str) -> str:
    """The state that `jobs ls` would show, without the help it gives."""
    with Broker(settings.load()) as broker:
        return jobs.state(broker, broker.journal.job(job))


def tries(job: str) -> list[tuple[str, str]]:
    """Targets and states of a job's attempts."""
    with Broker(settings.load()) as broker:
        return [(attempt.target, attempt.state) for attempt in broker.journal.attempts(job)]


def at_work(job: str, attempt: int = 1) -> list[psutil.Process]:
    """The processes of a job's script."""
    return of_job(f"{job}{attempt:02d}")


def driver(job: str) -> psutil.Process:
    """The process that drives a job, once it says so."""
    found: list[psutil.Process] = []
    until(lambda: found.extend(_holder(job)) or found, "a driver")
    return found[0]


def _holder(job: str) -> list[psutil.Process]:
    """The process that holds a job's lease, if one does."""
    lease = settings.load().state_dir / "leases" / f"{job}.lease"
    with suppress(FileNotFoundError, psutil.NoSuchProcess):  # it was let go just now
        words = lease.read_text().split() if state(job) not in ("interrupted", "done") else []
        return [psutil.Process(int(words[0]))] if words else []
    return []


def follower(job: str) -> psutil.Process:
    """The follower of a job, once it says that it drives it: until then its lease names who started it."""
    found: list[psutil.Process] = []
    until(lambda: found.extend(one for one in _holder(job) if one in followers(job)) or found, "a follower")
    return found[0]


def followers(job: str = "") -> list[psutil.Process]:
    """The followers of a job, or of all jobs of this test."""
    ours = carrying("OFFLOAD_STATE_DIR", str(settings.load().state_dir))
    found = {process: words(process) for process in ours if {FOLLOWER, job or FOLLOWER} <= set(words(process))}
    return [process for process, typed in found.items() if found.get(_parent(process)) != typed]


def _parent(process: psutil.Process) -> psutil.Process | None:
    """Who started it: a command that is just being started has its parent's words until it has its own."""
    with suppress(psutil.Error):
        return process.parent()
    return None


def words(process: psutil.Process) -> list[str]:
    """Its command line; empty for one that is gone, or about to be."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def kill(process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that is nobody's child here, and wait until it is gone."""
    with suppress(psutil.NoSuchProcess):  # it is
        process.send_signal(number)
    until(lambda: is_gone(process), f"its end by {number.name}")


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, buried or not."""
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def orphan(job: str) -> None:
    """Kill a job's driver, and wait until nobody drives it."""
    kill(driver(job))
    until(lambda: state(job) == "interrupted", "that nobody drives it")
