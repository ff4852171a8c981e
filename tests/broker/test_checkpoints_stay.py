"""What is kept of a job's checkpoints, where, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import checkpoints, policy
from broker.broker import Broker
from broker.checkpoints import sweep
from broker.events import Published
from broker.stop import Stop
from tests.broker.jobs import drive, right
from tests.broker.test_attempt import jobs_on
from tests.broker.test_checkpoints import ALL, abandoned, failed_at_70, kept, once_here, reached, recorded, stepwise

__all__ = ["once_here"]  # a fixture


def test_pieces_go_with_their_item_and_the_folder_with_the_job(broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(stepwise(tmp_path / "media", (b"one", b"two"), seconds=0.5))
    half_way, published = [], []
    for event in broker.drive(job, Stop()):
        if reached(0.5)(event):
            half_way.append({path.parent.name for path in kept(broker, job)})
        if isinstance(event, Published):
            published.append({path.parent.name for path in kept(broker, job)})
    assert half_way[0] == {"0"}
    assert half_way[-1] == {"1"}
    assert [left & {"0"} for left in published] == [set(), set()]
    assert not (broker.journal.checkpoint_folder / job.id).exists()
    assert recorded(broker, job.id, 0) == recorded(broker, job.id, 1) == dict.fromkeys(ALL, 1)


@pytest.mark.usefixtures("once_here")
def test_a_forgotten_job_leaves_no_pieces(broker: Broker, tmp_path: Path) -> None:
    _, job = failed_at_70(broker, tmp_path / "media")
    assert kept(broker, job)
    broker.remove(job)
    assert not (broker.journal.checkpoint_folder / job.id).exists()


@pytest.mark.usefixtures("once_here")
def test_pieces_of_a_failed_job_are_kept_for_some_days(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, job = failed_at_70(broker, tmp_path / "media")
    left = kept(broker, job)
    unknown = broker.journal.checkpoint_folder / "0123456789ab/0/piece"
    unknown.parent.mkdir(parents=True)
    unknown.write_bytes(b"whose?")
    ended = broker.journal.ending(job.id).ended or 0.0
    with monkeypatch.context() as clock:
        clock.setattr("time.time", lambda: ended + 6.9 * checkpoints.DAY_SECONDS)
        sweep(broker.journal, 7.0)
        assert kept(broker) == left
        clock.setattr("time.time", lambda: ended + 7.1 * checkpoints.DAY_SECONDS)
        sweep(broker.journal, 7.0)
        assert kept(broker) == []
        assert not list(broker.journal.checkpoint_folder.iterdir())

    broker.reopen(job)
    monkeypatch.setattr(policy, "RUNS_HERE", 2)
    drive(broker, job)
    assert right(asked)


def test_a_job_that_is_done_has_the_others_swept_once_a_day(broker: Broker, tmp_path: Path) -> None:
    unknown = broker.journal.checkpoint_folder / "0123456789ab"
    unknown.mkdir(parents=True)
    drive(broker, stepwise(tmp_path / "media"))
    assert not unknown.exists()


def test_pieces_of_a_job_that_is_not_over_are_swept_by_nobody(broker: Broker, tmp_path: Path) -> None:
    job = abandoned(broker, stepwise(tmp_path / "media", seconds=1.0))
    left = kept(broker, job)
    sweep(broker.journal, 0.0)
    assert kept(broker, job) == left != []
    broker.remove(job)


def test_on_this_machine_pieces_are_linked_and_never_copied(broker: Broker, tmp_path: Path) -> None:
    job = abandoned(broker, stepwise(tmp_path / "media", seconds=1.0))
    (folder,) = jobs_on(broker, "local")
    pieces = kept(broker, job)
    assert pieces
    assert all(path.samefile(folder / "out/0/checkpoints" / path.name) for path in pieces)
    broker.remove(job)


@pytest.mark.usefixtures("once_here")
def test_on_this_machine_pieces_are_read_where_they_lie(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, job = failed_at_70(broker, tmp_path / "media", keep=True)
    pieces = kept(broker, job)
    broker.reopen(job)
    drive(broker, job)
    linked = {path.readlink() for folder in jobs_on(broker, "local") for path in folder.glob("in/checkpoints/0/*")}
    assert linked == set(pieces)
