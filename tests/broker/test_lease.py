"""A lease: one driver at a time, however the last one died, or whether it only sleeps."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker import lease
from broker.broker import Broker
from broker.errors import NoTarget, Overtaken, UsageError
from broker.job import State
from broker.journal import Journal
from broker.stop import Stop
from broker.watch import Left
from tests.broker.jobs import drive, notes, only_job, request, right
from tests.broker.test_journal import submit
from tests.kill.rounds import ROOT
from tests.offload.background import until

LONG = 3600.0
HOLDER = """
import sys, time
from pathlib import Path
from broker import lease
from broker.errors import Overtaken
from broker.journal import Journal
folder, job = Path(sys.argv[1]), sys.argv[2]
with Journal(folder / "journal.sqlite3") as journal, lease.hold(journal, folder / "leases", job, 3600) as ledger:
    print("held", flush=True)
    sys.stdin.read()
    try:
        ledger.check()
        print("still", flush=True)
    except Overtaken:
        print("overtaken", flush=True)
"""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite3") as opened:
        yield opened


@contextmanager
def holder(folder: Path, job: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a job's lease until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder), job]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lease_keeps_others_out_and_ends_with_its_process(journal: Journal, tmp_path: Path) -> None:
    leases, job, another = tmp_path / "leases", submit(journal, "one"), submit(journal, "another")
    with holder(tmp_path, job) as process:
        assert lease.held(leases, job)
        by = f"driven by process {process.pid}"
        with pytest.raises(NoTarget, match=by), lease.hold(journal, leases, job, LONG):
            pytest.fail("two drivers")
        with lease.hold(journal, leases, another, LONG):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not lease.held(leases, job)
    with lease.hold(journal, leases, job, LONG):
        assert lease.held(leases, job)
    assert not lease.held(leases, job)
    assert list(leases.iterdir()) == []


def test_a_holder_that_is_stopped_is_replaced_once_its_heart_has_not_beaten_for_long(
    journal: Journal, tmp_path: Path
) -> None:
    leases, job = tmp_path / "leases", submit(journal)
    with holder(tmp_path, job) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(lease.Held), lease.hold(journal, leases, job, LONG):
            pytest.fail("it has only just stopped")
        _await_silence(leases / f"{job}.lease", 0.7)
        with lease.hold(journal, leases, job, 0.6) as ledger:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
            assert process.stdout.readline() == "overtaken\n"
            process.wait()
            ledger.check()
            assert lease.held(leases, job)  # the late one has not taken ours with it
        assert not lease.held(leases, job)


def _await_silence(path: Path, seconds: float) -> None:
    while time.monotonic() - float(path.read_text().split()[1]) < seconds:
        time.sleep(0.05)


def test_a_heart_that_beats_keeps_a_lease_for_ever(journal: Journal, tmp_path: Path) -> None:
    leases, job = tmp_path / "leases", submit(journal)
    with holder(tmp_path, job):
        path = leases / f"{job}.lease"
        first = path.read_text()
        until(lambda: path.read_text() != first, "a beat")
        with pytest.raises(lease.Held), lease.hold(journal, leases, job, 30.0):
            pytest.fail("two drivers")


def test_a_beat_that_cannot_be_written_is_made_up_for_by_the_next(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, write, missed = submit(journal), os.pwrite, list[int]()

    def missing(lock: int, beat: bytes, offset: int) -> int:
        if len(missed) < 3:
            missed.append(lock)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(lock, beat, offset)

    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    with lease.hold(journal, tmp_path, job, LONG):
        monkeypatch.setattr(os, "pwrite", missing)
        first, deadline = (tmp_path / f"{job}.lease").read_text(), time.monotonic() + 60
        while len(missed) < 3 or (tmp_path / f"{job}.lease").read_text() == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lease_is_not_taken_on_a_file_that_its_last_holder_removed(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, lock, removed = submit(journal), lease.lock_now, list[bool]()

    def lock_too_late(file: int, mode: int) -> bool:
        if not removed:
            removed.append(True)
            (tmp_path / f"{job}.lease").unlink()
        return lock(file, mode)

    monkeypatch.setattr(lease, "lock_now", lock_too_late)
    with lease.hold(journal, tmp_path, job, LONG):
        assert lease.held(tmp_path, job)


def test_nobody_holds_what_never_was(tmp_path: Path) -> None:
    assert not lease.held(tmp_path / "nowhere", "job")


def test_a_lease_is_given_back_on_an_error(journal: Journal, tmp_path: Path) -> None:
    job = submit(journal)
    with pytest.raises(ZeroDivisionError), lease.hold(journal, tmp_path, job, LONG):
        raise ZeroDivisionError
    assert not lease.held(tmp_path, job)


def test_every_lease_has_a_term_of_its_own(journal: Journal, tmp_path: Path) -> None:
    job = submit(journal)
    with lease.hold(journal, tmp_path, job, LONG) as first:
        first.check()
    with lease.hold(journal, tmp_path, job, LONG) as second:
        assert second.term == first.term + 1
        with pytest.raises(Overtaken):
            first.check()


def test_never_two_at_once_however_they_hurry(journal: Journal, tmp_path: Path) -> None:
    job, inside, most, held = submit(journal), 0, 0, 0

    def hurry() -> None:
        nonlocal inside, most, held
        with Journal(tmp_path / "journal.sqlite3") as own:
            for _ in range(20):
                try:
                    with lease.hold(own, tmp_path / "leases", job, LONG):
                        inside += 1
                        most, held = max(most, inside), held + 1
                        inside -= 1
                except lease.Held:
                    pass
                lease.held(tmp_path / "leases", job)

    threads = [threading.Thread(target=hurry) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert held >= 20


# A job that another process drives


def test_a_driven_job_is_watched_until_it_is_free_and_then_taken_over(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    job = broker.submit(asked)
    told = []
    with lease.hold(broker.journal, broker.settings.state_dir / "leases", job.id, LONG):
        with pytest.raises(UsageError, match="is running"):
            broker.remove(job)
        driving = broker.drive(job, Stop())
        told.append(next(iter(driving)))
    told += list(driving)
    assert notes(told)[0] == f"job {job.id} is being seen through by another process; watching it"
    assert right(asked)
    assert only_job(broker).state is State.DONE


def test_a_job_that_has_just_ended_is_removed_as_soon_as_its_driver_lets_go_of_it(
    broker: Broker, tmp_path: Path
) -> None:
    job, ended, let_go = broker.submit(request(tmp_path / "media", b"one")), threading.Event(), threading.Event()

    def end() -> None:
        with Broker(broker.settings) as other, other.driving(job, Stop()) as ledger:
            other.close_cancelled(ledger)
            ended.set()
            let_go.wait()

    driver = threading.Thread(target=end)
    driver.start()
    ended.wait()
    later = threading.Timer(0.5, let_go.set)
    later.start()
    broker.remove(job)
    assert let_go.is_set() and broker.journal.jobs() == []
    driver.join()


def test_who_only_watches_may_leave_and_the_job_goes_on(broker: Broker, tmp_path: Path) -> None:
    job, stop = broker.submit(request(tmp_path / "media", b"one")), Stop()
    with lease.hold(broker.journal, broker.settings.state_dir / "leases", job.id, LONG):
        stop.request()
        with pytest.raises(Left, match="goes on without you") as caught:
            list(broker.drive(job, stop))
        assert job.id in caught.value.hint
    assert only_job(broker).state is State.QUEUED
    drive(broker, job)
