"""One job on one target: stage in, start, follow, publish each item as it is done, acknowledge."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from broker import publication, staging
from broker.agent import Agent, Batch, refusal
from broker.errors import EXIT_CODES, InputError, Interrupted, JobFailed
from broker.events import Event, ItemFailed, Note, Progress, Published
from broker.job import Item, Job, Output
from broker.journal import Attempt, Journal
from broker.scripts import bundle, environment
from broker.stop import Stop
from executors.base import Executor, ExecutorError, Lost, OutOfMemory

POLL_SECONDS = 1.0
NOTE_SECONDS = 5.0
"""How often progress is written to the journal."""


class Run:
    """A running attempt. Iterate it to drive it; it ends when every item is done or has failed.

    Raises ExecutorError when the target fails us, JobFailed when the script does, Interrupted when stopped.
    """

    def __init__(self, journal: Journal, attempt: Attempt, executor: Executor, stop: Stop, grace: float) -> None:
        self.timings: dict[str, float] = {}
        self._journal = journal
        self._attempt = attempt
        self._executor = executor
        self._stop = stop
        self._grace = grace
        self._noted = 0.0

    def __iter__(self) -> Iterator[Event]:
        job = self._journal.job(self._attempt.job)
        with self._executor:
            agent = Agent(self._executor, bundle(job.script))
            try:
                yield from self._drive(agent, job)
            except (KeyboardInterrupt, GeneratorExit):
                agent.cancel(self._attempt.remote, 0)
                raise

    def _drive(self, agent: Agent, job: Job) -> Iterator[Event]:
        agent.install()
        items = yield from self._unchanged(job.open_items)
        if self._stop.requested:
            raise Interrupted("stopped before it ran")
        if not items:
            return
        with self._timed("stage_in"):
            inputs = staging.stage_in(self._executor, agent, items)
        agent.start(self._attempt.remote, job.script.name, self._request(job, items, inputs))
        with self._timed("run"):
            ending = yield from self._follow(agent)
        self._keep_log()
        try:
            self._judge(ending)
        except Interrupted:
            self._dismiss(agent)
            raise
        self._dismiss(agent)

    def _unchanged(self, items: tuple[Item, ...]) -> Generator[Event, None, list[Item]]:
        same = []
        for item in items:
            try:
                staging.check_unchanged(item)
                same.append(item)
            except InputError as error:
                yield from self._fail(item, "bad_input", str(error))
        return same

    def _request(self, job: Job, items: list[Item], inputs: list[dict[str, Any]]) -> dict[str, Any]:
        specs = [
            {
                "index": item.index,
                "input": f"in/{item.index}{entry['suffix']}",
                "options": dict(item.options),
            }
            for item, entry in zip(items, inputs, strict=True)
        ]
        about = {"id": job.id, "service": job.service, "params": dict(job.params), "limits": dict(job.limits)}
        return {
            "spec": {**about, "items": specs},
            "inputs": inputs,
            "environment": environment(job.script, job.extras),
        }

    def _follow(self, agent: Agent) -> Generator[Event, None, Mapping[str, Any]]:
        since, asked = 0, False
        while True:
            batch = agent.events(self._attempt.remote, since, POLL_SECONDS)
            for event in batch.events:
                yield from self._take(event)
            progressed, since = batch.next > since, batch.next
            if batch.state != "running" and not progressed:
                return self._end(batch)
            if self._stop.requested and not asked:
                asked = True
                yield Note("stopping; finished items are kept")
                agent.cancel(self._attempt.remote, self._grace)

    def _end(self, batch: Batch) -> Mapping[str, Any]:
        if batch.state != "ended":
            raise Lost(f"{self._attempt.target}: the job's supervisor is gone")
        return batch.ending

    def _take(self, event: Mapping[str, Any]) -> Iterator[Event]:
        match event.get("type"):
            case "progress":
                yield self._progress(event)
            case "log":
                yield Note(_plain(event.get("message")), event.get("index"))
            case "versions":
                self._journal.note_versions(self._attempt, event["versions"])
            case "item_done":
                yield from self._item_done(event)
            case "item_failed":
                yield from self._item_failed(event)

    def _progress(self, event: Mapping[str, Any]) -> Progress:
        progress = Progress(int(event["index"]), event["fraction"], event.get("speed", 0.0), event.get("eta", 0.0))
        if time.monotonic() - self._noted > NOTE_SECONDS:
            self._noted = time.monotonic()
            self._journal.note_progress(self._attempt.job, progress.index, progress.fraction)
        return progress

    def _item_done(self, event: Mapping[str, Any]) -> Iterator[Event]:
        job = self._journal.job(self._attempt.job)
        item = self._item(job, event)
        if not item.open:
            return
        if not (yield from self._unchanged((item,))):
            return
        item = replace(item, outputs=_announced(item, event["files"]))
        with self._timed("stage_out"):
            fetch = partial(self._fetch, item)
            paths = publication.publish(self._journal, self._attempt, job, item, fetch, event.get("measured", {}))
        if paths is None:
            raise Lost(f"{self._attempt.target}: another attempt has taken the job over")
        yield from _renamed(item, paths)
        yield Published(item.index, paths, event.get("measured", {}))

    def _fetch(self, item: Item, output: Output, part: Path) -> None:
        path = f"jobs/{self._attempt.remote}/out/{item.index}/{output.name}"
        staging.fetch(self._executor, path, output.size or 0, output.sha256 or "", part)

    def _item_failed(self, event: Mapping[str, Any]) -> Iterator[Event]:
        item = self._item(self._journal.job(self._attempt.job), event)
        kind, error = str(event.get("kind")), _plain(event.get("error"))
        if kind == "memory":
            raise OutOfMemory(f"{self._attempt.target}: {error}")
        if item.open:
            yield from self._fail(item, kind if kind in EXIT_CODES else "failed", error)

    def _fail(self, item: Item, kind: str, error: str) -> Iterator[Event]:
        self._journal.fail_item(self._attempt, item.index, kind, error)
        yield ItemFailed(item.index, kind, error)

    def _item(self, job: Job, event: Mapping[str, Any]) -> Item:
        index = event.get("index")
        if not isinstance(index, int) or not 0 <= index < len(job.items):
            raise Lost(f"{self._attempt.target}: speaks of item {index!r}, which the job does not have")
        return job.items[index]

    def _judge(self, ending: Mapping[str, Any]) -> None:
        target, status = self._attempt.target, ending.get("exit")
        if ending.get("cancelled"):
            raise Interrupted("the job was cancelled")
        if "error" in ending:
            raise refusal(ending["error"], target)
        if status is None:
            raise Lost(f"{target}: the job was ended by {ending.get('terminated', 'something')}")
        if status < 0:
            raise Lost(f"{target}: the script was killed by signal {-status}, perhaps for want of memory")
        if status > 0 or self._journal.job(self._attempt.job).open_items:
            raise JobFailed(f"the script ended with status {status}", f"offload jobs logs {self._attempt.job}")

    def _keep_log(self) -> None:
        with suppress(ExecutorError):  # a job that failed before its script has none
            text = staging.fetch_text(self._executor, f"jobs/{self._attempt.remote}/log.txt")
            self._journal.keep_log(self._attempt, text)

    def _dismiss(self, agent: Agent) -> None:
        with suppress(ExecutorError):  # the results are here; what the target keeps ages away by itself
            agent.ack(self._attempt.remote)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[phase] = round(self.timings.get(phase, 0.0) + time.monotonic() - started, 3)


def _announced(item: Item, files: list[Mapping[str, Any]]) -> tuple[Output, ...]:
    # Only names we asked for count: a target's own idea of a name never becomes a path here.
    found = {str(file["name"]): file for file in files}
    missing = [output.name for output in item.outputs if output.name not in found]
    if missing:
        raise JobFailed(f"the script made no {missing[0]} for item {item.index}")
    return tuple(
        replace(output, size=int(found[output.name]["size"]), sha256=str(found[output.name]["sha256"]))
        for output in item.outputs
    )


def _renamed(item: Item, paths: tuple[Path, ...]) -> Iterator[Event]:
    for output, path in zip(item.outputs, paths, strict=True):
        if path != output.dest:
            yield Note(
                f"{output.dest} appeared while the job ran and was left alone; the result is {path}",
                item.index,
            )


def _plain(text: object) -> str:
    return "".join(char if char.isprintable() else " " for char in str(text))[:2000]
