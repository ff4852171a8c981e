"""A lease: one driver at a time, however the last one died."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest

from broker import lease
from broker.broker import Broker
from broker.errors import NoTarget, UsageError
from broker.stop import Stop
from tests.broker.jobs import drive, request
from tests.kill.rounds import ROOT


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lease of `job`."""
    code = (
        "import sys, time; from pathlib import Path; from broker import lease\n"
        "with lease.hold(Path(sys.argv[1]), 'job'): print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def test_a_lease_keeps_others_out_and_ends_with_its_process(tmp_path: Path) -> None:
    tmp_path = tmp_path / "leases"
    process = holder(tmp_path)
    try:
        assert lease.held(tmp_path, "job")
        with pytest.raises(NoTarget, match=f"driven by process {process.pid}"), lease.hold(tmp_path, "job"):
            pytest.fail("two drivers")
        with lease.hold(tmp_path, "another"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not lease.held(tmp_path, "job")
    with lease.hold(tmp_path, "job"):
        assert lease.held(tmp_path, "job")
    assert not lease.held(tmp_path, "job")
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_not_taken_on_a_file_that_its_last_holder_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, removed = lease._lock, list[bool]()

    def lock_too_late(file: IO[str], mode: int) -> bool:
        if not removed:
            removed.append(True)
            Path(file.name).unlink()
        return lock(file, mode)

    monkeypatch.setattr(lease, "_lock", lock_too_late)
    with lease.hold(tmp_path, "job"):
        assert lease.held(tmp_path, "job")


def test_nobody_holds_what_never_was(tmp_path: Path) -> None:
    assert not lease.held(tmp_path / "nowhere", "job")


def test_a_lease_is_given_back_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lease.hold(tmp_path, "job"):
        raise ZeroDivisionError
    assert not lease.held(tmp_path, "job")


def test_never_two_at_once_however_they_hurry(tmp_path: Path) -> None:
    inside, most, held = 0, 0, 0

    def hurry() -> None:
        nonlocal inside, most, held
        for _ in range(50):
            try:
                with lease.hold(tmp_path, "job"):
                    inside += 1
                    most, held = max(most, inside), held + 1
                    inside -= 1
            except NoTarget:
                pass
            lease.held(tmp_path, "job")

    threads = [threading.Thread(target=hurry) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert held >= 50


def test_a_driven_job_is_neither_driven_nor_removed_by_another(broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    with lease.hold(broker.settings.state_dir / "leases", job.id):
        assert broker.driven(job)
        with pytest.raises(NoTarget):
            list(broker.drive(job, Stop()))
        with pytest.raises(UsageError, match="is running"):
            broker.remove(job)
    drive(broker, job)
