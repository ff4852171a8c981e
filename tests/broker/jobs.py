"""Jobs of the fake work for tests: requested, driven, and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from broker.broker import Broker
from broker.events import Event, Note
from broker.job import Input, Job, Request
from broker.journal import Journal
from broker.ledger import Ledger
from broker.stop import Stop
from tests import fakework
from tests.fakework.fake import SERVICE


def request(folder: Path, *contents: bytes, **choices: Any) -> Request:
    """A request for the fake work on new files of these contents; `choices` are the request's own, or parameters."""
    folder.mkdir(exist_ok=True)
    own = {name: choices.pop(name) for name in ("on", "fallback", "overwrite", "keep", "spread") if name in choices}
    params = SERVICE.params(**{"seconds": 0.02, **choices})
    inputs = []
    for number, content in enumerate(contents):
        source = folder / f"{number}.dat"
        if not source.exists():
            source.write_bytes(content)
        inputs.append(Input(source, SERVICE.outputs(folder / f"{number}.worked.bin", params)))
    script = SERVICE.script
    assert isinstance(script, Path)
    return Request("fake", script, params.for_script(), tuple(inputs), **own)


def drive(broker: Broker, asked: Request | Job, stop: Stop | None = None) -> list[Event]:
    """Submit and drive; returns what was told."""
    job = asked if isinstance(asked, Job) else broker.submit(asked)
    return list(broker.drive(job, stop or Stop()))


def let_go(folder: Path, *items: int) -> Path:
    """Let these items of jobs with this `hold` go on; returns the folder."""
    folder.mkdir(exist_ok=True)
    for item in items:
        (folder / str(item)).touch()
    return folder


def ledger(journal: Journal, job: str) -> Ledger:
    """A job's ledger, under a new term and without a lease: what had one before is overtaken."""
    with journal.turn():
        return journal.ledger(job)


def only_job(broker: Broker) -> Job:
    """The journal's only job."""
    (job,) = broker.journal.jobs()
    return job


def notes(events: list[Event]) -> list[str]:
    """The notes among events."""
    return [event.message for event in events if isinstance(event, Note)]


def right(asked: Request) -> bool:
    """Whether every output is there and has the right content, and nothing of ours lies beside them."""
    sources = [entry.source for entry in asked.inputs]
    outputs = {dest for entry in asked.inputs for dest in entry.outputs.values()}
    assert {path for source in sources for path in source.parent.iterdir()} == {*sources, *outputs}
    return all(
        entry.outputs["worked.bin"].read_bytes() == fakework.expected(entry.source.read_bytes())
        for entry in asked.inputs
    )
