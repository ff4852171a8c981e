"""A thousand inputs: what is done for each is counted, and there is little of it before anybody is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from broker import followers, settings
from broker.database import Database
from server import submission, wishes
from server.access import Access
from server.desk import Desk
from services.base import amount
from services.base.weighing import LOOKED_AT
from tests.media import clip
from tests.server.asking import WAITING, away, end_all

MANY = 1000
FEW = 500


class Counted:
    """How often headers are looked at, and the journal is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.headers = self.statements = 0
        opened, execute, rows = amount._opened, Database.execute, Database.rows

        def looking(source: Path) -> Any:
            self.headers += 1
            return opened(source)

        def asking(kept: Any) -> Any:
            def one(database: Database, *words: Any) -> Any:
                self.statements += 1
                return kept(database, *words)

            return one

        monkeypatch.setattr(amount, "_opened", looking)
        monkeypatch.setattr(Database, "execute", asking(execute))
        monkeypatch.setattr(Database, "rows", asking(rows))

    def taken(self) -> tuple[int, int]:
        """What there was of both since this was asked last."""
        found = self.headers, self.statements
        self.headers = self.statements = 0
        return found


@pytest.fixture
def desk(offload_dirs: Path) -> Desk:
    """A desk that nobody sits at: what is left to the background waits."""
    away(offload_dirs)
    return Desk(settings.load(), Access("0" * 40), 1)


@pytest.fixture
def inputs(desk: Desk, tmp_path: Path) -> Sequence[dict[str, str]]:
    """Clips that differ, as uploads."""
    data, blobs = clip(tmp_path / "clip.mp4", 0.2).read_bytes(), settings.load().state_dir / "server" / "blobs"
    blobs.mkdir(parents=True)
    found = []
    for number in range(MANY):
        one = data + number.to_bytes(4, "big")
        sha256 = hashlib.sha256(one).hexdigest()
        (blobs / sha256).write_bytes(one)
        found.append({"blob": sha256, "name": f"{number}.mp4"})
    return found


def test_a_plan_looks_at_some_and_asks_the_journal_no_more_for_many(
    desk: Desk, inputs: Sequence[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, seconds = Counted(monkeypatch), []
    for several in (inputs[:FEW], inputs):
        sketch = wishes.Sketch.model_validate({"service": "stabilize", "inputs": several, "on": "local"})
        with desk.broker() as broker:
            counted.taken()
            [place] = submission.plan(desk, broker, sketch).targets
        headers, statements = counted.taken()
        assert headers <= LOOKED_AT and statements < MANY / 10
        seconds.append(place.phases["run"])
    assert seconds[1] == pytest.approx(2 * seconds[0], rel=0.01)


def test_a_job_is_recorded_first_and_looked_at_in_the_background(
    desk: Desk, inputs: Sequence[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "revive", lambda broker: None)
    counted = Counted(monkeypatch)
    wish = wishes.Wish.model_validate({"service": "stabilize", "inputs": inputs, **WAITING})
    with desk.broker() as broker:
        counted.taken()
        job, _ = submission.submit(desk, broker, wish)
        headers, statements = counted.taken()
        assert headers == 0 and statements < 15 * MANY
        assert {item.amount for item in job.items} == {None}
        desk._see_to_jobs()
        assert counted.taken()[0] == MANY
        assert None not in {item.amount for item in broker.journal.job(job.id).items}
    end_all()
