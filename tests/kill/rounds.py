"""One round of a kill loop: the fake work, a signal at a random moment, and what must hold afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from broker.job import Job, State
from broker.journal import Journal
from tests import fakework

FAKE = Path(fakework.__file__).with_name("fake.py")
ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
POLITE = frozenset(SIGNALS) - {signal.SIGKILL}
HANGS = 60.0
"""Seconds after which something that should end has not."""
PATIENCE = 20.0
"""Seconds after which a command is held up by one that was stopped in the middle of a transaction."""


@dataclass
class Tally:
    """What went wrong in a number of rounds, by kind; a sentence each."""

    rounds: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    leftover: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another tally's rounds too."""
        self.rounds += other.rounds
        for kind in ("lost", "doubled", "partial", "leftover"):
            getattr(self, kind).extend(getattr(other, kind))

    @property
    def troubles(self) -> list[str]:
        """All that went wrong."""
        return [*self.lost, *self.doubled, *self.partial, *self.leftover]

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {len(getattr(self, kind))}" for kind in ("lost", "doubled", "partial", "leftover"))
        return f"kill loops: {self.rounds} rounds, {counts}"


class Round:
    """A folder with an input, a command on it that is started and killed, and the checks on what it leaves."""

    def __init__(self, folder: Path, random: Random, seconds: float = 0.6, **settings: object) -> None:
        self.tally = Tally(1)
        self._folder = folder
        self._settings = {f"OFFLOAD_{name.upper()}": str(value) for name, value in settings.items()}
        self._random = random
        self._seconds = seconds
        self._data = random.randbytes(1000)
        self._media = folder / "media"
        self._media.mkdir(parents=True)
        self._source = self._media / "clip.dat"
        self._source.write_bytes(self._data)
        self._before = self._source.stat()
        self._dest = self._media / "clip.worked.bin"

    def start(self) -> subprocess.Popen[bytes]:
        """Type the command."""
        argv = [sys.executable, str(FAKE), str(self._source), "--seconds", str(self._seconds), "--family"]
        places = {f"OFFLOAD_{name.upper()}_DIR": str(self._folder / name) for name in ("config", "state", "cache")}
        with (self._folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**os.environ, **places, **self._settings, "PYTHONPATH": str(ROOT)},
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=_hear_signals,
            )

    def kill_command(self, number: signal.Signals, after: float) -> None:
        """Signal the command; after SIGKILL, type it again."""
        command = self.start()
        time.sleep(after)
        command.send_signal(number)
        code = command.wait(HANGS)
        self._check_files(f"{number.name} to the command after {after:.2f} s")
        if number in POLITE:
            self._check_stopped(code, number)
            return
        self.check_again()

    def check_again(self) -> None:
        """The same command ends what was begun, and only that."""
        job = self._job()
        done = job is not None and job.state is State.DONE
        code = self.start().wait(HANGS)
        if code != (2 if done else 0):
            self._lose(f"typed again, the command ended with {code}")
        self.check_done()
        job = self._job()
        if job and [output.attempt for item in job.items for output in item.outputs] != [1]:
            self.tally.doubled.append(f"{self._name}: the work was done again, not taken up")

    def kill_part(self, role: str, number: signal.Signals, after: float) -> None:
        """Signal the runner or the script once it is there and `after` seconds have gone: the command goes on."""
        command = self.start()
        if pid := self._await(role, command):
            time.sleep(after)
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        code = command.wait(HANGS)
        if code != 0:
            self._lose(f"{number.name} to the {role} {after:.2f} s after it came: the command ended with {code}")
        self.check_done()

    def stop_midway(self, number: signal.Signals) -> None:
        """Signal the command while its script is at work: there is no way but to stop."""
        command = self.start()
        self._await("script", command)
        command.send_signal(number)
        if (code := command.wait(HANGS)) != 130:
            self._lose(f"{number.name} at work: the command ended with {code}")
        self._check_stopped(130, number)
        if self._dest.exists():
            self._lose(f"{number.name} at work: it went on to the end")

    def pause_command(self, after: float, again: float, driving: bool) -> bool | None:
        """Stop the command, type it again `again` seconds later, then let the first go on: both end well.

        It is stopped `after` seconds from its start, or from when it drives the job. Returns whether the second came
        to its end while the first was stopped; None if the first did not drive the job then: nothing was in its way.
        """
        first = self.start()
        if driving:
            self._await("lease", first)
        time.sleep(after)
        first.send_signal(signal.SIGSTOP)
        stopped, drove = time.time(), self._lease() is not None and first.poll() is None
        time.sleep(again)
        second, typed = self.start(), time.time()
        overtaken = _ends(second, PATIENCE)
        first.send_signal(signal.SIGCONT)
        codes = first.wait(HANGS), second.wait(HANGS)
        if codes not in ((0, 0), self._too_late(stopped, typed)):
            self._lose(f"stopped after {after:.2f} s: the commands ended with {codes}")
        self.check_done()
        return overtaken if drove else None

    def _too_late(self, stopped: float, typed: float) -> tuple[int, int] | None:
        """How the commands end when one came upon the finished work of the other: the result is there already."""
        job = self._job()
        if job is None:
            return None
        with Journal(self._folder / "state" / "journal.sqlite3") as journal:
            ending = journal.ending(job.id)
        if ending.created > stopped:
            return 2, 0
        return (0, 2) if (ending.ended or typed) < typed else None

    def interrupt_twice(self, after: float, between: float) -> None:
        """Ctrl-C, and again."""
        command = self.start()
        time.sleep(after)
        for _ in range(2):
            command.send_signal(signal.SIGINT)
            time.sleep(between)
        self._check_stopped(command.wait(HANGS), signal.SIGINT)
        self._check_files("two Ctrl-C")

    # What must hold

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

    def check_done(self) -> None:
        """Exactly one right output, of one job, and nothing else."""
        self._check_files("at the end")
        self._check_left()
        if not self._dest.exists():
            self._lose("no output")
        jobs = self._jobs()
        if [job.state for job in jobs] != [State.DONE]:
            self.tally.doubled.append(f"{self._name}: jobs {[job.state.value for job in jobs]}")

    def _check_files(self, when: str) -> None:
        if self._dest.exists() and self._dest.read_bytes() != fakework.expected(self._data):
            self.tally.partial.append(f"{self._name}: {when}, the output is wrong")
        now = self._source.stat()
        if self._source.read_bytes() != self._data or now.st_mtime_ns != self._before.st_mtime_ns:
            self.tally.partial.append(f"{self._name}: {when}, the original was touched")

    def _check_left(self) -> None:
        strangers = {path.name for path in self._media.iterdir()} - {self._source.name, self._dest.name}
        if strangers:
            (self.tally.doubled if self._dest.exists() else self.tally.leftover).append(f"{self._name}: {strangers}")
        if alive := [process for process in self._processes() if "OFFLOAD_JOB" in _environment(process)]:
            self.tally.leftover.append(f"{self._name}: processes {alive}")

    def _lose(self, what: str) -> None:
        said = (self._folder / "said.txt").read_text(errors="replace")
        self.tally.lost.append(f"{self._name}: {what}\n{said[-2000:]}")

    @property
    def _name(self) -> str:
        return self._folder.name

    # What there is

    def _jobs(self) -> list[Job]:
        path = self._folder / "state" / "journal.sqlite3"
        if not path.exists():
            return []
        with Journal(path) as journal:
            return journal.jobs()

    def _job(self) -> Job | None:
        jobs = self._jobs()
        return jobs[0] if jobs else None

    def _await(self, role: str, command: subprocess.Popen[bytes]) -> int | None:
        found = {"runner": self._supervisor, "script": self._script, "lease": self._lease}[role]
        while command.poll() is None:
            if pid := found():
                return pid
            time.sleep(0.01)
        return None

    def _lease(self) -> int | None:
        owners = [path.read_text().split() for path in (self._folder / "state" / "leases").glob("*.lease")]
        return int(owners[0][0]) if owners and owners[0] else None

    def _supervisor(self) -> int | None:
        return next((p.pid for p in self._processes() if "OFFLOAD_SUPERVISOR" in _environment(p)), None)

    def _script(self) -> int | None:
        supervisor = self._supervisor()
        return next((p.pid for p in self._processes() if _parent(p) == supervisor and _is_script(p)), None)

    def _processes(self) -> Iterator[psutil.Process]:
        ours = str(self._folder / "cache")
        return (process for process in psutil.process_iter() if _environment(process).get("OFFLOAD_CACHE_DIR") == ours)


def play(folder: Path, seed: int, role: str, span: float) -> Tally:
    """Play one round of a role; its moment is somewhere in the `span` seconds that an undisturbed one takes."""
    random = Random(seed)
    game = Round(folder / f"{role}-{seed}", random)
    number = SIGNALS[seed % len(SIGNALS)]
    if role == "command":
        game.kill_command(number, random.uniform(0, span))
    else:
        game.kill_part(role, number, random.uniform(0, 0.7))
    return game.tally


def _ends(command: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        command.wait(seconds)
    return command.poll() is not None


def _hear_signals() -> None:
    # Test runs in the background of a shell inherit signals that are ignored.
    for number in POLITE:
        signal.signal(number, signal.SIG_DFL)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except psutil.Error:
        return {}


def _parent(process: psutil.Process) -> int | None:
    with suppress(psutil.Error):
        return process.ppid()
    return None


def _is_script(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(word.endswith("work.py") for word in process.cmdline())
    return False
