"""What a power cut must not undo is on the disk when it is said; what it may is not waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker import settings
from broker.broker import Broker
from broker.database import Database
from tests.broker.jobs import drive, request, right

FULL = 2


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was written in transactions that wait for the disk, all of each in one piece."""
    transactions: list[str] = []
    really, execute = Database.write, Database.execute

    @contextmanager
    def write(self: Database) -> Iterator[None]:
        with really(self):
            if self.rows("PRAGMA synchronous")[0][0] == FULL:
                transactions.append("")
            yield

    def written(self: Database, statement: str, values: Sequence[Any] = ()) -> int:
        if self._db.in_transaction and self.rows("PRAGMA synchronous")[0][0] == FULL:
            transactions[-1] += f"{statement} {[*values]};"
        return execute(self, statement, values)

    monkeypatch.setattr(Database, "write", write)
    monkeypatch.setattr(Database, "execute", written)
    return transactions


def test_a_job_waits_for_the_disk_at_five_moments(durable: list[str], broker: Broker, tmp_path: Path) -> None:
    durable.clear()
    asked = request(tmp_path / "media", b"one")
    drive(broker, asked)
    assert right(asked)
    submitted, orphan, intent, published, over = durable
    assert "INSERT INTO jobs" in submitted
    assert "remains = ? WHERE id = ? [<Remains.ORPHAN" in orphan
    assert "state = 'intent'" in intent
    assert "state = 'published'" in published
    assert "UPDATE jobs SET state = ?, ended" in over


def test_what_was_made_before_at_four(durable: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", str(10**8))
    with Broker(settings.load()) as broker:
        drive(broker, request(tmp_path / "media", b"one"))
        durable.clear()
        drive(broker, request(tmp_path / "more", b"one"))
        assert [one.target for one in broker.journal.attempts(broker.journal.jobs()[0].id)] == ["cache"]
    submitted, intent, published, over = durable
    assert "INSERT INTO jobs" in submitted
    assert "state = 'intent'" in intent
    assert "state = 'published'" in published
    assert "UPDATE jobs SET state = ?, ended" in over


def test_a_cancellation_waits_for_the_disk(durable: list[str], broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    durable.clear()
    broker.cancel(job)
    assert any("unwanted" in one for one in durable)
    assert "UPDATE jobs SET state" in durable[-1]
