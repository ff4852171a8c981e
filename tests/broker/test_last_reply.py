"""The end of a job that went well: one reply of its target brings the last word and the log, and deletes the job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.broker import Broker
from broker.job import Remains, State
from executors.base import Completed, Lost
from executors.local import LocalExecutor
from tests.broker.faulty import FaultyExecutor
from tests.broker.jobs import drive, only_job, request, right
from tests.broker.test_attempt import jobs_on

Box = type[FaultyExecutor]


def verbs(box: Box) -> list[str]:
    return [word for operation, word, _ in box.asked if operation == "run"]


def test_what_was_published_is_acknowledged_in_the_last_reply(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"two", noise=True)
    drive(broker, asked)
    assert right(asked)
    (attempt,) = broker.journal.attempts(only_job(broker).id)
    assert (attempt.state, attempt.remains) == ("done", Remains.NOTHING)
    assert "a warning" in (broker.journal.log(attempt) or "")
    assert jobs_on(broker, "box") == []
    assert "ack" not in verbs(box)


def test_a_job_that_is_to_be_kept_is_not(box: Box, broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one", keep=True))
    assert len(jobs_on(broker, "box")) == 1


def test_a_last_reply_that_is_lost_costs_nothing(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, lost = LocalExecutor.run, list[str]()

    def run(self: LocalExecutor, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        done = really(self, argv, stdin, timeout)
        if b'"log":' in done.stdout and self.name == "box":
            lost.append(argv[-1])
            raise Lost("box: the link broke")
        return done

    monkeypatch.setattr(LocalExecutor, "run", run)
    asked = request(tmp_path / "media", b"one")
    drive(broker, asked)
    assert lost == ["events"]
    assert right(asked)
    job = only_job(broker)
    (attempt,) = broker.journal.attempts(job.id)
    assert (job.state, attempt.state, attempt.remains) == (State.DONE, "done", Remains.NOTHING)
