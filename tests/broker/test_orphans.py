"""What nobody waits for any more on a target is found, told of, and deleted; what is others' is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import orphans, settings
from broker.broker import Broker
from broker.errors import NoTarget
from broker.events import Progress
from broker.job import Job, Remains, State
from broker.stop import Stop
from executors.base import Unreachable
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, ledger, only_job, request
from tests.processes import of_job

Box = type[FaultyExecutor]


class Killed(BaseException):
    """The process died here."""


def left_running(broker: Broker, folder: Path) -> tuple[Job, str]:
    """A job that runs on the box, and that nobody drives; and its name there."""
    job = broker.submit(request(folder, b"one", seconds=60, family=True, on="box"))
    driven = broker.drive(job, Stop())
    assert any(isinstance(event, Progress) for event in driven)
    with pytest.raises(Killed):
        driven.throw(Killed)  # type: ignore[attr-defined]
    remote = broker.journal.attempts(job.id)[-1].remote
    assert of_job(remote)
    return job, remote


def test_a_client_has_one_name(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    assert orphans.client(folder) == orphans.client(folder)
    assert len(orphans.client(folder)) == 16
    assert [path.name for path in folder.iterdir()] == ["client"]


def test_a_job_the_journal_knows_nothing_of_is_a_leftover_and_cleaned(box: Box, broker: Broker, tmp_path: Path) -> None:
    job, remote = left_running(broker, tmp_path / "media")
    target = broker.targets["box"]
    assert broker.contact.leftovers(target) == []
    broker.journal.forget(job.id)
    assert broker.contact.leftovers(target) == [remote]
    assert broker.contact.clean(target) == 1
    assert not of_job(remote)
    assert list((tmp_path / "box/jobs").iterdir()) == []
    assert broker.contact.clean(target) == 0


def test_other_peoples_jobs_on_the_same_target_are_left_alone(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, remote = left_running(broker, tmp_path / "media")
    monkeypatch.setenv("OFFLOAD_STATE_DIR", str(tmp_path / "theirs"))
    with Broker(settings.load()) as other:
        assert other.contact.leftovers(other.targets["box"]) == []
        assert other.contact.clean(other.targets["box"]) == 0
    assert of_job(remote)
    broker.cancel(job)
    assert not of_job(remote)


def test_a_cancelled_job_leaves_nothing_on_its_target(box: Box, broker: Broker, tmp_path: Path) -> None:
    job, remote = left_running(broker, tmp_path / "media")
    assert broker.cancel(job) == []
    assert not of_job(remote)
    assert broker.journal.orphans() == []
    assert list((tmp_path / "box/jobs").iterdir()) == []


def test_a_target_that_cannot_be_told_of_a_cancel_is_named_noted_and_cleaned_later(
    box: Box, broker: Broker, tmp_path: Path
) -> None:
    job, remote = left_running(broker, tmp_path / "media")
    box.faults.append(Fault("enter", error=Unreachable("box: no route")))
    assert broker.cancel(job) == ["box"]
    assert only_job(broker).state is State.CANCELLED
    assert of_job(remote)
    with Broker(settings.load()) as later:
        assert later.notices == [
            "box may still hold an attempt that was given up:"
            " `offload targets clean box` ends and deletes what is left there"
        ]
    with pytest.raises(NoTarget, match="box cannot be reached, and may still hold part of job"):
        broker.remove(job)
    box.faults.clear()
    drive(broker, request(tmp_path / "another", b"two", on="box"))
    assert not of_job(remote)
    assert broker.journal.orphans() == []
    broker.remove(job)


def test_what_was_kept_on_purpose_is_no_orphan_and_goes_with_the_job(box: Box, broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one", keep=True, on="box"))
    (attempt,) = broker.journal.attempts(only_job(broker).id)
    assert attempt.remains is Remains.KEPT
    assert broker.journal.orphans() == []
    drive(broker, request(tmp_path / "another", b"two", on="box"))
    (kept,) = (tmp_path / "box/jobs").iterdir()
    broker.remove(broker.journal.job(attempt.job))
    assert not kept.exists()


def test_an_orphan_is_ended_at_the_end_of_its_own_job_when_its_target_is_back(
    box: Box, broker: Broker, tmp_path: Path
) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    page = ledger(broker.journal, job.id)
    page.advance(State.RUNNING)
    lost = page.begin_attempt("box", "a test")
    page.may_remain(lost)
    page.end_attempt(lost, "lost", "gone", {})
    drive(broker, job)
    assert broker.journal.orphans() == []
