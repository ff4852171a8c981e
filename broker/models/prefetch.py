"""Fetching models before they are needed, on whatever target: by the runner there, as a job would have them fetched."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from broker import keeper, orphans, reports, scripts, supplies
from broker.agent import Agent, refusal
from broker.errors import Interrupted, JobFailed, LimitError, OffloadError
from broker.events import Note
from broker.models import catalogue
from broker.models.pin import File, Pin
from broker.models.said import amount
from broker.models.store import here
from broker.settings import Settings
from broker.stop import Stop
from broker.targets import Target
from executors.base import Executor, ExecutorError

SCRIPT = "fetch.py"
POLL_SECONDS = 2.0


def holds_nothing(target: Target) -> bool:
    """Whether a target rents its machine and has none: then no model can be there. Raises Refused."""
    rented = target.rented()
    return rented is not None and rented.held() is None


@contextmanager
def visit(target: Target, settings: Settings, stop: Stop, take: bool = False) -> Iterator[Visit]:
    """Enter a target; one that rents its machine only if it has one, or we are to `take` it. Raises ExecutorError."""
    executor = target.executor()
    executor.returning = not take
    if take:
        keeper.start(settings, executor)
    with executor:
        if take:
            keeper.start(settings, executor)  # one that found nothing to keep yet has ended: no job is on its way there
        with keeper.in_use(executor):
            agent = Agent(executor, scripts.bundle(scripts.folder() / SCRIPT))
            agent.install()
            yield Visit(executor, agent, settings, stop)


@dataclass(frozen=True)
class Visit:
    """An entered target, and what can be done there about models. Each method raises ExecutorError."""

    executor: Executor
    agent: Agent
    settings: Settings
    stop: Stop

    @property
    def _shared(self) -> bool:
        return self.executor.local_path("jobs") is not None

    def lacks(self, pin: Pin) -> list[File]:
        """The files of a model that are not there."""
        there = self.agent.models([file.sha256 for file in pin.files])
        also = here(pin, self.settings) if self._shared else {}  # caches of the user's will do
        return [file for file in pin.files if not there.get(file.sha256) and file.sha256 not in also]

    def check_room(self, pins: Iterable[Pin]) -> None:
        """Raise LimitError when there is no room for what is not there yet."""
        needed = sum(file.size or _rough(pin) for pin in pins for file in self.lacks(pin))
        free = int(self.agent.facts()["disk_free_bytes"])
        if needed > free:
            said = f"{amount(needed)} are to be fetched, and {amount(free)} are free on {self.executor.name}"
            raise LimitError(said, "make room there, or fetch fewer at once")

    def bring(self, pin: Pin) -> Iterator[Note]:
        """See to it that a model is there: fetched there, else sent from here. Yields how far it is.

        Raises MissingHere when it can be had neither way, NoSpace, Interrupted when stopped, JobFailed.
        """
        supplies.send_own(self.executor, self.agent, [pin], self.stop)
        ending, lacks = yield from self._fetch(pin)
        if lacks and not self._shared:
            yield Note(f"{self.executor.name} cannot fetch {pin.name}; it is sent from here")
            sent = supplies.ModelFiles(lacks, [pin])
            sent.send(self.executor, self.agent, {}, self.settings, self.stop)
            ending, _ = yield from self._fetch(pin)
        self._judge(ending)

    def _fetch(self, pin: Pin) -> Generator[Note, None, tuple[Mapping[str, Any], reports.Models | None]]:
        """Let the runner there bring the model for a job that does nothing; returns its end, and what it lacks."""
        job = secrets.token_hex(8)
        self.agent.start(job, SCRIPT, self._order(job, pin))
        since, lacks, over = 0, None, False
        try:
            while True:
                batch = self.agent.events(job, since, POLL_SECONDS)
                for report in (reports.read(event, 0) for event in batch.events):
                    lacks = report if isinstance(report, reports.Models) else lacks
                    if isinstance(report, Note):
                        yield report
                over, since = batch.state != "running" and batch.next == since, batch.next
                if over:
                    return batch.ending, lacks
                if self.stop.requested:
                    raise Interrupted("stopped; what was fetched counts", f"offload models prefetch {pin.name}")
        finally:
            self._leave(job, over)

    def _leave(self, job: str, over: bool) -> None:
        with suppress(ExecutorError, OffloadError):  # a target that is gone: the job ages away there
            if not over:
                self.agent.cancel(job, 0)
            self.agent.ack(job)

    def _order(self, job: str, pin: Pin) -> dict[str, Any]:
        about = {"id": job, "service": "prefetch", "params": {}, "limits": {}, "items": [], "models": ["model"]}
        return {
            "spec": {**about, "ease": 0, "offline": self.settings.offline},
            "inputs": [],
            "models": [pin.told("model", self._shared)],
            "offline": self.settings.offline,
            "environment": scripts.environment(scripts.folder() / SCRIPT, (), build=not self._shared),
            "client": orphans.client(self.settings.state_dir),
        }

    def _judge(self, ending: Mapping[str, Any]) -> None:
        if "error" in ending:
            raise refusal(ending["error"], self.executor.name)
        if ending.get("exit") != 0:
            raise JobFailed(f"{self.executor.name}: the script that fetches models ended with {ending.get('exit')}")

    def forget(self, sha256s: Iterable[str]) -> int:
        """Delete files of models there; returns how many bytes that frees."""
        return self.agent.forget(sorted(sha256s))


def _rough(pin: Pin) -> int:
    return catalogue.about(pin.source).size_bytes or 0
