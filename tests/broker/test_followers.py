"""Handing a job over to a follower: its lease always has one holder, and nothing of it is left when that fails."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker import background, followers, lease
from broker.broker import Broker
from broker.errors import OffloadError
from broker.events import Note
from broker.job import Job
from broker.journal import Journal
from broker.lease import Held
from broker.policy import Patience
from tests.broker.jobs import request
from tests.broker.test_journal import submit

LONG = 3600.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite3") as opened:
        yield opened


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs for which a process was to be started; none is."""
    jobs: list[str] = []
    monkeypatch.setattr(background, "spawn", lambda module, log, job, lock: jobs.append(job))
    return jobs


def detached(broker: Broker, folder: Path) -> Job:
    return broker.submit(replace(request(folder, b"work"), detached=True))


def test_a_lease_that_was_taken_is_held_until_it_is_handed_over(journal: Journal, tmp_path: Path) -> None:
    job, folder = submit(journal), tmp_path / "leases"
    handed = lease.take(journal, folder, job, LONG)
    assert lease.held(folder, job)
    with pytest.raises(Held), lease.hold(journal, folder, job, LONG):
        pass
    os.set_inheritable(handed, True)  # as a process has it that was given it
    with lease.hold(journal, folder, job, LONG, handed) as ledger:
        ledger.check()
        assert (folder / f"{job}.lease").read_text().split()[0] == str(os.getpid())
        assert not os.get_inheritable(handed)
        with pytest.raises(Held), lease.hold(journal, folder, job, LONG):
            pass
    assert not lease.held(folder, job)


def test_a_lease_dies_with_who_was_to_hold_it(journal: Journal, tmp_path: Path) -> None:
    job, folder = submit(journal), tmp_path / "leases"
    os.close(lease.take(journal, folder, job, LONG))
    assert not lease.held(folder, job)
    with lease.hold(journal, folder, job, LONG) as ledger:
        ledger.check()


def test_a_lease_handed_over_too_late_is_worth_nothing(journal: Journal, tmp_path: Path) -> None:
    job, folder = submit(journal), tmp_path / "leases"
    handed = lease.take(journal, folder, job, LONG)
    (folder / f"{job}.lease").unlink()  # as it is done to one whose holder gives no sign
    with lease.hold(journal, folder, job, LONG) as ledger:
        with pytest.raises(Held), lease.hold(journal, folder, job, LONG, handed):
            pass
        ledger.check()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(handed)


def test_a_driven_job_gets_no_follower(broker: Broker, tmp_path: Path, spawned: list[str]) -> None:
    job = detached(broker, tmp_path / "media")
    lock = broker.take_lease(job)
    followers.start(broker, job)
    followers.revive(broker)
    assert spawned == []
    os.close(lock)
    followers.revive(broker)
    assert spawned == [job.id]


def test_a_job_of_the_foreground_gets_no_follower(broker: Broker, tmp_path: Path, spawned: list[str]) -> None:
    job = broker.submit(request(tmp_path / "media", b"work"))
    followers.revive(broker)
    assert spawned == []
    broker.journal.detach(job.id)
    followers.revive(broker)
    assert spawned == [job.id]


def test_a_job_that_is_over_gets_no_follower(broker: Broker, tmp_path: Path, spawned: list[str]) -> None:
    broker.cancel(detached(broker, tmp_path / "media"))
    followers.revive(broker)
    assert spawned == []


def test_where_no_process_can_be_started_the_job_stays_free(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    job = detached(broker, tmp_path / "media")
    monkeypatch.setattr(background, "spawn", refuse)
    with pytest.raises(OffloadError, match="is recorded, but no process") as refused:
        followers.start(broker, job)
    assert refused.value.hint == f"offload jobs attach {job.id}"
    followers.revive(broker)  # not this command's affair
    assert not broker.driven(job.id)


def test_a_follower_waits_longer_and_longer_for_as_long_as_it_takes() -> None:
    patience = Patience(math.inf, longest=60.0)
    pauses = [patience.pause() for _ in range(3000)]
    assert pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert pauses[-1] == 60.0
    patience.heard(news=True)
    assert patience.pause() == 0.5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_that_takes_no_more_stops_no_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w")  # noqa: PTH123, SIM115 - closing it fails too
    monkeypatch.setattr("sys.stdout", full)
    followers._tell(Note("a word"))
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space"):
        full.close()
