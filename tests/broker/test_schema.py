"""Journals of every released version are brought up to date with all that is in them."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from broker import schema
from broker.job import Remains, State
from broker.journal import Journal

RELEASED = ("97b24f8808c11ad4",)
"""What the released steps hash to: one that has been released is never changed, only followed by another."""

SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))


def made_by(version: Path, path: Path) -> Path:
    """A journal as a released version left it, with a job running, one done, and what else there may be."""
    with sqlite3.connect(path) as db:
        db.executescript(version.read_text())
    db.close()
    return path


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        # By name: a column that was added stands at the end, where a new journal may have it elsewhere.
        found = {table: sorted(row[1:6] for row in db.execute(f"PRAGMA table_info({table})")) for table in tables}
    db.close()
    return found


def test_released_steps_are_never_changed() -> None:
    hashes = tuple(hashlib.sha256(step.encode()).hexdigest()[:16] for step in schema.STEPS)
    assert hashes[: len(RELEASED)] == RELEASED


def test_there_is_a_journal_of_every_released_version() -> None:
    assert [int(version.stem) for version in SCHEMAS] == list(range(1, len(RELEASED) + 1))


@pytest.mark.parametrize("version", SCHEMAS, ids=lambda version: version.stem)
def test_a_released_journal_becomes_one_of_today_with_all_that_is_in_it(version: Path, tmp_path: Path) -> None:
    old, new = made_by(version, tmp_path / "old.sqlite3"), tmp_path / "new.sqlite3"
    with Journal(old) as journal, Journal(new):
        running, done = journal.job("0123456789ab"), journal.job("ba9876543210")
        assert (running.state, running.params, running.items[0].source) == (
            State.RUNNING,
            {"smoothing": 15},
            Path("/v/a.mp4"),
        )
        assert running.items[0].outputs[0].state == "intent"
        assert (done.state, done.keep, done.items[0].measured) == (State.DONE, True, {"jitter": 1})
        first, second = journal.attempts(running.id)
        assert (first.target, first.state, first.remains) == ("my-box", "lost", Remains.ORPHAN)
        assert (second.target, second.state) == ("local", "running")
        (last,) = journal.attempts(done.id)
        assert (last.remains, journal.log(last)) == (Remains.NOTHING, "said")
        assert journal.hashes.known(running.items[0].source, running.items[0].file_id) == "a" * 64
        assert [orphan.id for orphan in journal.orphans()] == [first.id]
    assert columns(old) == columns(new)


def test_jobs_of_before_promise_no_more_than_their_services_do(tmp_path: Path) -> None:
    path = made_by(SCHEMAS[0], tmp_path / "old.sqlite3")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE jobs SET service = 'tag' WHERE id = 'ba9876543210'")
    db.close()
    with Journal(path) as journal:
        assert [journal.job(job).contract for job in ("0123456789ab", "ba9876543210")] == ["bytes", "close"]


@pytest.mark.parametrize("version", SCHEMAS, ids=lambda version: version.stem)
def test_a_released_job_can_be_driven_on(version: Path, tmp_path: Path) -> None:
    with Journal(made_by(version, tmp_path / "old.sqlite3")) as journal:
        with journal.turn():
            page = journal.ledger("0123456789ab")
        page.published(0, "stabilized.mp4", Path("/v/a.stabilized.mp4"))
        page.advance(State.DONE)
        assert journal.job(page.id).items[0].done
