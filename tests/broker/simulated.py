"""Processes and machines under a scheduler's control: several drivers of one job, each stopped between any two steps.

A driver is a thread that runs only when told to, from one seam to the next: one before and after every transaction,
every file operation that leaves a trace, every word with a target, and wherever it would sleep. One that dies does
nothing any more, whatever its `finally` clauses ask for. So every order of events can be played, and played again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import pytest

from broker import lease
from broker.database import Database
from broker.stop import Stop
from executors.base import Completed, Executor, Lost, NoSuchFile, Probe, Span, Unreachable

HANGS = 120.0
NAMES = ("worked.bin", "digest.txt")
CLOCK = SimpleNamespace(now=1000.0, monotonic=lambda: CLOCK.now, sleep=lambda seconds: None)
"""The clock by which leases end."""

REFUSALS: list[OSError] = []
"""What the next file operations of a driver in the user's folder end with."""


class Died(BaseException):
    """The process was killed here."""


class Driver(threading.Thread):
    """A process of the user's: runs `body` from seam to seam. `said` is the error that it ended with, if any."""

    here = threading.local()

    def __init__(self, name: str, body: Callable[[Stop], object]) -> None:
        super().__init__(name=name, daemon=True)
        self.said: BaseException | None = None
        self.stop, self.beats = Sleepless(), list[Callable[[], object]]()
        self.dead = self.ended = False
        self.where = "its start"
        self._dies_in, self._depth = -1, 0
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._body = body
        self.start()
        self._await()

    def run(self) -> None:
        """Be that process."""
        self.here.driver = self
        try:
            self.seam("its start")
            self._body(self.stop)
        except BaseException as error:  # noqa: BLE001 - judged by who looks at it
            self.said = error
        self.ended = True
        self._back.release()

    def seam(self, where: str) -> None:
        """Where it may be stopped, or die; in the middle of a transaction it can only die."""
        if not self._depth:
            self.where = where
            self._back.release()
            self._go.acquire()
        self._dies_in -= 1
        if self._dies_in == 0:
            self.dead = True
        if self.dead:
            raise Died(where)

    @contextmanager
    def transaction(self, inner: Any) -> Iterator[None]:
        """A transaction between two seams, and none to be stopped at within."""
        self.seam("BEGIN")
        with inner:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
        self.seam("COMMIT")

    def step(self, most: int = 1) -> None:
        """Run on over so many seams, or to its end."""
        for _ in range(most):
            if not self.ended:
                self._go.release()
                self._await()

    def die(self, seams: int) -> None:
        """Be killed at the next seam but so many, counting those where it could not be stopped."""
        self._dies_in = seams + 1
        while not (self.dead or self.ended):
            self.step()
        self.step(1 << 20)

    def _await(self) -> None:
        assert self._back.acquire(timeout=HANGS), f"{self.name} hangs after {self.where}"

    def beat(self) -> None:
        """Do what it does every so many seconds: show that it lives, look whether its job is wanted."""
        for do in [] if self.ended else self.beats:
            do()


class Sleepless(Stop):
    """Sleeping takes no time, but others may come first."""

    def sleep(self, seconds: float) -> None:
        seam("sleep")


def seam(where: str) -> None:
    """A seam of the driver whose thread this is, if it is one's."""
    if driver := getattr(Driver.here, "driver", None):
        driver.seam(where)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put seams into everything that leaves a trace, and leases under our clock."""
    for name in ("link", "replace", "rename", "fsync"):
        monkeypatch.setattr(os, name, _between(name, getattr(os, name)))
    monkeypatch.setattr(os, "unlink", _unless_dead(_between("unlink", os.unlink)))
    monkeypatch.setattr(Database, "write", _stepwise(Database.write))
    monkeypatch.setattr(lease, "time", CLOCK)
    monkeypatch.setattr(lease, "every", _when_told)
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))


def _between(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    def stepped(*args: Any, **kwargs: Any) -> Any:
        in_media = "media" in Path(str(args[-1])).parts
        where = f"{name} in media" if in_media else name
        seam(f"before {where}")
        if REFUSALS and in_media and hasattr(Driver.here, "driver"):
            raise REFUSALS.pop()
        result = step(*args, **kwargs)
        seam(f"after {where}")
        return result

    return stepped


def _unless_dead(unlink: Callable[..., Any]) -> Callable[..., Any]:
    def kept(*args: Any, **kwargs: Any) -> None:
        driver = getattr(Driver.here, "driver", None)
        if not (driver and driver.dead):
            unlink(*args, **kwargs)

    return kept


def _stepwise(write: Callable[[Database], Any]) -> Callable[[Database], Any]:
    def stepped(database: Database) -> Any:
        driver = getattr(Driver.here, "driver", None)
        return driver.transaction(write(database)) if driver else write(database)

    return stepped


@contextmanager
def _when_told(seconds: float, do: Callable[[], object]) -> Iterator[None]:
    beats = Driver.here.driver.beats
    beats.append(do)
    try:
        yield
    finally:
        beats.remove(do)


# Machines


@dataclass
class Work:
    """A job on a machine: what its script has printed, and how it ended."""

    items: list[int]
    events: bytearray = field(default_factory=bytearray)
    ending: dict[str, Any] | None = None

    def say(self, **event: Any) -> None:
        """Print an event."""
        self.events += json.dumps(event).encode() + b"\n"


class Machine:
    """A target: its jobs, and whether it answers. Each makes results of its own: no two are alike."""

    def __init__(self, root: Path, shares: bool) -> None:
        self.root, self.shares = root, shares
        self.answers, self.hurries = True, False
        self.jobs: dict[str, Work] = {}
        self.made: dict[tuple[int, str], set[bytes]] = {}

    @property
    def at_work(self) -> list[tuple[str, Work]]:
        """The jobs that run."""
        return [(remote, work) for remote, work in self.jobs.items() if work.ending is None]

    def do(self, remote: str, index: int) -> None:
        """Have a running job finish an item, and end after its last one."""
        work, folder = self.jobs[remote], self.root / "jobs" / remote / "out" / str(index)
        folder.mkdir(parents=True, exist_ok=True)
        files = [self._make(folder, remote, index, name) for name in NAMES]
        work.say(type="item_done", index=index, files=files, measured={})
        self._finished(work, index)

    def fail(self, remote: str, index: int) -> None:
        """Have a running job fail at an item."""
        self.jobs[remote].say(type="item_failed", index=index, kind="failed", error="it does not work")
        self._finished(self.jobs[remote], index)

    def _finished(self, work: Work, index: int) -> None:
        work.items.remove(index)
        if not work.items:
            work.ending = {"exit": 0}

    def _make(self, folder: Path, remote: str, index: int, name: str) -> dict[str, Any]:
        content = f"{name} of item {index}, made by {remote}; ".encode() * 3
        self.made.setdefault((index, name), set()).add(content)
        (folder / name).write_bytes(content)
        return {"name": name, "size": len(content), "sha256": sha256(content).hexdigest()}

    # The runner's verbs

    def answer(self, verb: str, asked: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """Answer the runner's verbs, as far as the broker speaks them here."""
        work = self.jobs.get(asked.get("job", ""))
        if verb == "parts":
            return b"", {"blobs": {name: {"here": True, "parts": []} for name in asked["sha256"]}}
        if verb == "start" and work is None:
            self.jobs[asked["job"]] = Work([item["index"] for item in asked["spec"]["items"]])
        if verb == "events":
            return self._page(asked, work)
        if verb == "cancel" and work and work.ending is None:
            work.ending = {"cancelled": True, "exit": -15}
        if verb == "ack" and work and work.ending is None:
            return b"", {"error": {"kind": "bad_request", "message": "it still runs"}}
        if verb == "ack":
            self._forget(asked["job"])
        return b"", {"jobs": []} if verb == "ls" else {}

    def _page(self, asked: Mapping[str, Any], work: Work | None) -> tuple[bytes, dict[str, Any]]:
        if work is None:
            return b"", {"error": {"kind": "no_job", "message": f"no job {asked['job']} here"}}
        if self.hurries:
            for index in list(work.items) if work.ending is None else []:
                self.do(asked["job"], index)
        since = asked["since"] if asked["since"] <= len(work.events) else 0
        said: dict[str, Any] = {"next": len(work.events), "state": "running" if work.ending is None else "ended"}
        return bytes(work.events[since:]), said | ({"ending": work.ending} if work.ending is not None else {})

    def _forget(self, remote: str) -> None:
        self.jobs.pop(remote, None)
        for path in (self.root / "jobs" / remote / "out").glob("*/*"):
            path.unlink()


class SimulatedExecutor(Executor):
    """Drives one of `machines`."""

    machines: ClassVar[dict[str, Machine]] = {}
    streams = 1

    @property
    def _machine(self) -> Machine:
        return self.machines[self.name]

    def probe(self, deadline: float) -> Probe:
        return Probe(self._machine.answers, "" if self._machine.answers else "it is switched off")

    def __enter__(self) -> Self:
        self._driver = getattr(Driver.here, "driver", None)  # a pool's thread acts for the driver that waits for it
        self._seam("before enter")
        if not self._machine.answers:
            raise Unreachable(f"{self.name}: it is switched off")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Died):
            self._seam("after exit")

    def put(self, source: Path, span: Span, path: str) -> None:
        raise AssertionError("all is there already")

    def get(self, path: str, span: Span) -> bytes:
        self._ask(f"get {path}")
        if path.endswith("/installed"):
            return b"1"
        if path.endswith("/log.txt") or not (self._machine.root / path).is_file():
            raise NoSuchFile(f"{self.name}: {path} is not there")
        data = (self._machine.root / path).read_bytes()
        self._seam(f"after get {path}")
        return data[span.offset : span.offset + span.length]

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        self._ask(f"{argv[-1]}")
        page, reply = self._machine.answer(argv[-1], json.loads(stdin))
        self._seam(f"after {argv[-1]}")
        return Completed(0, page + json.dumps({"v": 1, **reply}).encode() + b"\n", b"")

    def local_path(self, path: str) -> Path | None:
        return self._machine.root / path if self._machine.shares else None

    def _ask(self, what: str) -> None:
        self._seam(f"before {what}")
        if not self._machine.answers:
            raise Lost(f"{self.name}: no answer")

    def _seam(self, where: str) -> None:
        if self._driver:
            self._driver.seam(where)


def wait_a_lease(drivers: Sequence[Driver], asleep: Driver | None, seconds: float) -> None:
    """Let a lease's length pass, in which every driver shows that it lives but the one that is asleep."""
    CLOCK.now += 2 * seconds
    for driver in drivers:
        if driver is not asleep:
            driver.beat()


__all__ = ["CLOCK", "NAMES", "Died", "Driver", "Machine", "SimulatedExecutor", "install", "time", "wait_a_lease"]
