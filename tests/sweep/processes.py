"""A target whose processes are real, each with seams: the verbs of the runner, the supervisor, the script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from broker import settings
from broker.broker import Broker
from broker.events import Progress
from broker.job import Remains, Request, State
from broker.stop import Stop
from executors.base import Completed
from executors.local import LocalExecutor
from tests import fakework
from tests.broker.jobs import request
from tests.processes import carrying

OPERATIONS = {name[0]: name for name in ("open", "write", "fsync", "link", "replace", "unlink", "mkdir", "spawn")}
CONTENT = b"one" * 40
SIZE = 400
HANGS = 60.0
"""Seconds after which what should be gone will not go."""

CASES: dict[str, dict[str, Any]] = {
    "done": {"digest": True, "steps": 2},
    "shared": {"digest": True},
    "stopped": {},
    "moved": {"steps": 4, "trouble": "SIGKILL"},
}
"""What becomes of a job when nothing fails. It is `moved` when its script is killed after 70 % of the pieces."""

NEW = {
    "shared": {"start", "script"},
    "stopped": {"cancel", "supervise", "ack"},
    "moved": {"start", "script", "assemble"},
}
"""The roles that do in a case what they do in none before it."""


class HookedExecutor(LocalExecutor):
    """This machine, with the hook in whatever Python runs there."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, {**options, "root": urlsplit(options["url"]).path})

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        hook = [f"SEAMS={self.root.parent / 'seams'}", f"PYTHONPATH={Path(__file__).parent}"]
        return super().run(["env", *hook, *argv], stdin, timeout)


class Hasty(Stop):
    """Waits for nothing long; `sleeps` many times at most."""

    sleeps = 500

    def sleep(self, seconds: float) -> None:
        self.sleeps -= 1
        assert self.sleeps, "it waits for something that never comes"
        super().sleep(min(seconds, 0.05))


@dataclass(frozen=True)
class Seam:
    """The `nth` operation of a role's processes, in one of the CASES, and of which kind it is."""

    case: str
    role: str
    nth: int = 0
    kind: str = ""


@dataclass
class Round:
    """A job of a case, in a folder of its own. With `patience`, what fails is tried again by the same command."""

    folder: Path
    case: str
    patience: float = 0.0
    asked: Request = field(init=False)
    _before: int = field(init=False)

    def __post_init__(self) -> None:
        home = {f"{name}_dir": self.folder / name for name in ("config", "state", "cache", "cgpu_config")}
        self.settings = settings.Settings(**home, grace_seconds=self.patience, cancel_grace=0.2)
        self._seams.mkdir(parents=True)
        self.settings.config_dir.mkdir()
        share = "yes" if self.case == "shared" else "no"
        targets = [f'[{name}]\nurl = "hooked://{self.folder / name}"\nshare = "{share}"' for name in ("box", "spare")]
        (self.settings.config_dir / "targets.toml").write_text("\n".join(targets))
        choices = {"on": "box,spare", "fallback": self.case == "moved", "seconds": 0, "size": SIZE, "family": True}
        if self.case == "stopped":
            choices["hold"] = str(self._hold)
        self.asked = request(self.folder / "media", CONTENT, **choices | CASES[self.case])
        self._before = self._source.stat().st_mtime_ns

    @property
    def _hold(self) -> Path:
        return self.folder / "hold"

    @property
    def _seams(self) -> Path:
        return self.folder / "seams"

    def type(self, seam: Seam | None = None, number: int = 0) -> BaseException | None:
        """Ask for the job, as a command does, and let a seam fail with the error `number`; returns how it ends.

        Without a seam, nothing fails and nobody stops it.
        """
        role, nth = (seam.role, seam.nth) if seam else ("nobody", 0)
        (self._seams / "fail").write_text(f"{role} {nth} {number}")
        if seam is None:
            self._let_go()
        try:
            with Broker(self.settings) as broker:
                broker.journal._db.execute("DELETE FROM health")
                self._drive(broker, stops=self.case == "stopped" and seam is not None)
        except Exception as error:  # noqa: BLE001 - judged by who looks at it
            return error
        return None

    def _drive(self, broker: Broker, stops: bool) -> None:
        stop = Hasty()
        for event in broker.drive(broker.submit(self.asked), stop):
            if stops and isinstance(event, Progress):
                stop.request()

    def _let_go(self) -> None:
        self._hold.mkdir(exist_ok=True)
        (self._hold / "0").touch()

    # What there is

    @property
    def met(self) -> str:
        """The operation that failed, and on what; empty when it never came."""
        file = self._seams / "met"
        return file.read_text() if file.exists() else ""

    def seams(self) -> list[Seam]:
        """Those of the roles that do something new in this case."""
        roles = NEW.get(self.case) or {file.name for file in self._seams.iterdir()} - {"fail", "met"}
        return [seam for role in sorted(roles) for seam in self._of(role)]

    def _of(self, role: str) -> Iterator[Seam]:
        for number, letter in enumerate((self._seams / role).read_text(), 1):
            yield Seam(self.case, role, number, OPERATIONS[letter])

    # What must hold

    def half_way(self) -> Iterator[str]:
        """What is neither before nor after, whatever has happened."""
        if any(dest.exists() and dest.read_bytes() != made for dest, made in self._made.items()):
            yield "an output is wrong"
        if self._source.read_bytes() != CONTENT or self._source.stat().st_mtime_ns != self._before:
            yield "the source was touched"
        if left := self._strangers():
            yield f"beside the source there is {left}"
        if not self._comes(lambda: not self._processes()):
            yield f"there are processes {self._processes()}"

    def unfinished(self) -> Iterator[str]:
        """What is not as it has to be at the end."""
        yield from self.half_way()
        if missing := [dest.name for dest in self._made if not dest.exists()]:
            yield f"{missing} are missing"
        with Broker(self.settings) as broker:
            if broker.journal.jobs()[0].state is not State.DONE:
                yield "the job is not done"
            if orphans := broker.journal.orphans():
                yield f"there are orphans {orphans}"
            if left := self._left_on_targets(broker):
                yield f"on the targets there is {left}"

    def _left_on_targets(self, broker: Broker) -> set[Path]:
        """What lies there beyond failed jobs, which are kept to be looked at. Drafts go with the next tidying up."""
        for target in {folder.parts[-3] for folder in self.folder.glob("*/jobs/.*")}:
            with broker.contact.visit(broker.targets[target]) as agent:
                agent.gc(0, 0)
        attempts = [attempt for job in broker.journal.jobs() for attempt in broker.journal.attempts(job.id)]
        kept = {attempt.remote for attempt in attempts if attempt.remains is Remains.KEPT}
        return {folder for folder in self.folder.glob("*/jobs/*") if folder.name not in kept}

    @property
    def after(self) -> bool:
        """Whether all the outputs are there."""
        return all(dest.exists() for dest in self._made)

    @property
    def _made(self) -> dict[Path, bytes]:
        right = {"worked.bin": fakework.expected(CONTENT, SIZE), "digest.txt": fakework.digest(CONTENT)}
        return {dest: right[name] for name, dest in self.asked.inputs[0].outputs.items()}

    @property
    def _source(self) -> Path:
        return self.asked.inputs[0].source

    def _strangers(self) -> set[str]:
        return {path.name for path in {*self._source.parent.iterdir()} - {self._source, *self._made}}

    def _processes(self) -> list[psutil.Process]:
        return list(carrying("SEAMS", str(self._seams)))

    def _comes(self, true: Callable[[], object]) -> bool:
        deadline = time.monotonic() + HANGS
        while not (came := bool(true())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return came
