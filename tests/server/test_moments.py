"""What is told of jobs is of one moment, whatever becomes of them between two looks into the journal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker import lease, settings, watch
from broker.broker import Broker
from broker.database import Database, Row, Values
from broker.errors import NoJob
from broker.job import State
from broker.journal import Journal
from broker.stop import Stop
from offload.jobs import jobs
from server import listing, problems, snapshots
from tests.broker.test_journal import submit


@pytest.fixture
def broker(offload_dirs: Path) -> Iterator[Broker]:
    with Broker(settings.load()) as opened:
        yield opened


@pytest.fixture
def another(broker: Broker) -> Iterator[Journal]:
    """The journal as another process has it."""
    with Journal(settings.load().journal) as opened:
        yield opened


@dataclass
class Meanwhile:
    """Another process, which acts right after so many queries of this one."""

    queries: int
    act: Callable[[], object]

    def __enter__(self) -> Meanwhile:
        self._patch = pytest.MonkeyPatch()
        queries = Database.rows

        def rows(database: Database, statement: str, values: Values = ()) -> list[Row]:
            found = queries(database, statement, values)
            self.queries -= 1
            if self.queries == 0:
                self.act()
            return found

        self._patch.setattr(Database, "rows", rows)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    @property
    def over(self) -> bool:
        """Whether there were not so many: no later place is left to act in."""
        return self.queries > 0


def listed(broker: Broker, job: str) -> list[str]:
    return [row.state for row in listing.page(broker, 10, None, None, None).jobs]


def shown(broker: Broker, job: str) -> list[str]:
    try:
        found = snapshots.snapshot(broker, job)
    except NoJob:
        return []
    assert len(found.items) == 2
    return [found.state]


def typed(*command: str) -> str:
    done = CliRunner().invoke(jobs, [*command, "--json"])
    if isinstance(done.exception, NoJob):
        return ""
    assert done.exception is None, done.exception
    return done.stdout


def listed_here(broker: Broker, job: str) -> list[str]:
    return [row["state"] for row in json.loads(typed("ls"))]


def receipt(broker: Broker, job: str) -> list[str]:
    try:
        found = broker.receipt(job)
    except NoJob:
        return []
    assert len(found["items"]) == 2
    return [found["state"]]


LOOKS = [listed, shown, listed_here, receipt]


@pytest.mark.parametrize("look", LOOKS)
def test_a_job_that_is_removed_meanwhile_is_there_in_whole_or_not_at_all(
    look: Callable[[Broker, str], list[str]], broker: Broker, another: Journal
) -> None:
    for count in itertools.count(1):
        job = submit(another, str(count), Path("/a"), Path("/b"))
        with Meanwhile(count, partial(another.forget, job)) as meanwhile:
            assert len(look(broker, job)) in (0, 1)
        another.forget(job)
        if meanwhile.over:
            break
    assert count > 5


@pytest.mark.parametrize("look", LOOKS)
def test_a_job_that_ends_meanwhile_is_not_interrupted(
    look: Callable[[Broker, str], list[str]], broker: Broker, another: Journal
) -> None:
    for count in itertools.count(1):
        job = submit(another, str(count), Path("/a"), Path("/b"))
        with ExitStack() as driving:
            ledger = driving.enter_context(lease.hold(another, settings.load().state_dir / "leases", job, 3600))
            ledger.advance(State.RUNNING)
            driving.callback(ledger.advance, State.DONE)  # its last word, before it lets go
            with Meanwhile(count, driving.close) as meanwhile:
                assert look(broker, job)[0] in ("running", "done")
        another.forget(job)
        if meanwhile.over:
            break
    assert count > 5


def test_a_request_about_a_job_that_is_gone_by_then_is_answered_as_one_about_no_job() -> None:
    assert problems.status_of(NoJob("no job")) == 404


def test_who_watches_a_job_that_is_removed_is_told_that(
    broker: Broker, another: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stop, "sleep", lambda stop, seconds: None)
    for count in range(1, 30):  # two looks, and more
        job = submit(another, str(count), Path("/a"), Path("/b"))
        with Meanwhile(count, partial(another.forget, job)), pytest.raises(NoJob, match=job):
            list(watch.watch(broker.journal, job, lambda job: True, Stop()))
