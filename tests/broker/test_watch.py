"""Watching: what the journal tells of a job is told once, in the words of who drives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.events import Event, ItemFailed, Note, Progress, Started
from broker.job import State
from broker.journal import Journal
from broker.stop import Stop
from broker.watch import Left, watch
from tests.broker.jobs import ledger
from tests.broker.test_journal import submit


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite3") as opened:
        yield opened


def take(events: Iterator[Event], count: int) -> list[Event]:
    return [next(events) for _ in range(count)]


def test_news_are_told_once_in_their_order(journal: Journal) -> None:
    job = submit(journal)
    driver = ledger(journal, job)
    events = watch(journal, job, lambda job: True, Stop())
    assert "watching it" in str(next(events))
    driver.advance(State.RUNNING)
    driver.begin_attempt("box", "it is the first")
    driver.note_progress(0, 0.25)
    assert take(events, 2) == [Started("box", "it is the first"), Progress(0, 0.25, 0.0, 0.0)]
    driver.remark("box is away")
    assert next(events) == Note("box is away")
    driver.remark("")
    driver.note_progress(0, 0.5)
    assert next(events) == Progress(0, 0.5, 0.0, 0.0)
    driver.remark("box is away")
    assert next(events) == Note("box is away")
    driver.begin_attempt("local", "it is left")
    driver.fail_item(0, "failed", "no")
    assert take(events, 2) == [Started("local", "it is left"), ItemFailed(0, "failed", "no")]
    driver.advance(State.FAILED)
    assert list(events) == []


def test_who_is_stopped_leaves_even_if_the_driver_has_just_died(journal: Journal) -> None:
    job, stop = submit(journal), Stop()
    events = watch(journal, job, lambda job: False, stop)
    next(events)
    stop.request()
    with pytest.raises(Left):
        list(events)


def test_the_end_of_a_driver_is_told(journal: Journal) -> None:
    events = watch(journal, submit(journal), lambda job: False, Stop())
    assert "going on with it here" in str(list(events)[-1])
