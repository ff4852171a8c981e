"""One round of a kill loop: a folder, the commands typed on it, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from broker.background import BOOT
from broker.job import Job, State
from broker.journal import Journal
from tests import fakework
from tests.kill.tally import Tally
from tests.processes import carrying, environment

FAKE = Path(fakework.__file__).with_name("fake.py")
ROOT = Path(__file__).parents[2]
FOLLOWER = BOOT.format(module="broker.followers")
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
POLITE = frozenset(SIGNALS) - {signal.SIGKILL}
HANGS = 120.0
"""Seconds after which something that should end has not."""


class Round:
    """A folder with an input, commands on it, and the checks on what they leave."""

    def __init__(self, folder: Path, random: Random, seconds: float = 0.6, **settings: object) -> None:
        self.tally = Tally(1)
        self._folder = folder
        self._settings = {f"OFFLOAD_{name.upper()}": str(value) for name, value in settings.items()}
        self._random = random
        self._seconds = seconds
        self._data = random.randbytes(1000)
        self._journal = folder / "state" / "journal.sqlite3"
        self._media = folder / "media"
        self._media.mkdir(parents=True)
        self._source = self._media / "clip.dat"
        self._source.write_bytes(self._data)
        self._before = self._source.stat()
        self._dest = self._media / "clip.worked.bin"

    def start(self, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Type the command of the fake work, with more `words`; `before` are Python's own."""
        work = [str(self._source), "--seconds", str(self._seconds), "--family"]
        return self._type([*before, str(FAKE), *work, *words])

    def _offload(self, *words: str) -> int:
        """Type `offload WORDS...`; returns its exit code."""
        return self._type(["-m", "offload", *words]).wait(HANGS)

    def _type(self, words: list[str]) -> subprocess.Popen[bytes]:
        places = {f"OFFLOAD_{name.upper()}_DIR": str(self._folder / name) for name in ("config", "state", "cache")}
        with (self._folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env={**os.environ, **places, **self._settings, "PYTHONPATH": str(ROOT)},
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=_hear_signals,
            )

    def _strike(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it was quicker
            os.kill(pid, number)
            self.tally.struck = 1

    # What must hold

    def check_done(self) -> None:
        """Exactly one right output, of one job, and nothing else."""
        self._check_files("at the end")
        self._check_left()
        if not self._dest.exists():
            self._lose("no output")
        jobs = self._jobs()
        if [job.state for job in jobs] != [State.DONE]:
            self.tally.doubled.append(f"{self._name}: jobs {[job.state.value for job in jobs]}")

    def _check_made_once(self) -> None:
        job = self._job()
        if job and [output.attempt for item in job.items for output in item.outputs] != [1]:
            self.tally.doubled.append(f"{self._name}: the work was done again, not taken up")

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
        if alive := [process for process in self._processes() if "OFFLOAD_JOB" in environment(process)]:
            self.tally.leftover.append(f"{self._name}: processes of the job {alive}")
        if not self._comes(lambda: not list(self._processes())):
            self.tally.leftover.append(f"{self._name}: processes {list(self._processes())}")

    def _lose(self, what: str) -> None:
        said = [self._folder / "said.txt", *(self._folder / "state" / "followers").glob("*.log")]
        told = "\n".join(path.read_text(errors="replace")[-2000:] for path in said)
        self.tally.lost.append(f"{self._name}: {what}\n{told}")

    @property
    def _name(self) -> str:
        return self._folder.name

    # What there is

    def _jobs(self) -> list[Job]:
        if not self._journal.exists():
            return []
        with Journal(self._journal) as journal:
            return journal.jobs()

    def _job(self) -> Job | None:
        jobs = self._jobs()
        return jobs[0] if jobs else None

    def _attempts(self) -> list[tuple[str, str]]:
        """Target and state of each attempt of the job."""
        with Journal(self._journal) as journal:
            return [(each.target, each.state) for job in journal.jobs() for each in journal.attempts(job.id)]

    def _await(self, role: str, goes_on: Callable[[], object]) -> int | None:
        """The process that has a role, once there is one; None when what brings it does not go on."""
        found = {
            "runner": self._supervisor,
            "script": self._script,
            "lease": self._lease,
            "follower": self._follower,
        }[role]
        while goes_on():
            if pid := found():
                return pid
            time.sleep(0.01)
        return None

    def _comes(self, true: Callable[[], object]) -> bool:
        deadline = time.monotonic() + HANGS
        while not (came := bool(true())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return came

    def _lease(self) -> int | None:
        for path in (self._folder / "state" / "leases").glob("*.lease"):
            with suppress(FileNotFoundError):  # it was let go just now
                owner = path.read_text().split()
                return int(owner[0]) if owner else None
        return None

    def _follower(self) -> int | None:
        return next((p.pid for p in self._processes() if FOLLOWER in _words(p)), None)

    def _supervisor(self) -> int | None:
        # It says so itself: on a busy machine the script may be over before all processes were looked at.
        for status in (self._folder / "cache/local/jobs").glob("*/status.json"):
            with suppress(FileNotFoundError):  # the job is over
                return json.loads(status.read_text()).get("pid")
        return None

    def _script(self) -> int | None:
        with suppress(psutil.Error):
            if supervisor := self._supervisor():
                return next((p.pid for p in psutil.Process(supervisor).children() if _is_script(p)), None)
        return None

    def _processes(self) -> Iterator[psutil.Process]:
        return carrying("OFFLOAD_CACHE_DIR", str(self._folder / "cache"))


def _hear_signals() -> None:
    # Test runs in the background of a shell inherit signals that are ignored.
    for number in POLITE:
        signal.signal(number, signal.SIG_DFL)


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _is_script(process: psutil.Process) -> bool:
    return any(word.endswith("work.py") for word in _words(process))
