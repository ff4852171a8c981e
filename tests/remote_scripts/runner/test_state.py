"""Whether a job lives, and who may start it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from _runner import events, jobs, layout, processes, state

from tests.remote_scripts.runner.job import JOB, request, started, wait_for_end


class TestState:
    def test_one_who_only_looks_does_not_keep_a_job_from_being_started(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spawned: list[Path] = []
        monkeypatch.setattr(jobs, "_spawn", lambda folder, *_: spawned.append(folder))
        looker = os.open(created / "lock", os.O_RDWR)
        fcntl.flock(looker, fcntl.LOCK_SH)
        timer = threading.Timer(0.2, os.close, [looker])
        timer.start()
        jobs.start(root, request())
        timer.join()
        assert spawned == [created]

    @pytest.mark.parametrize("status", ["running", "ended"])
    def test_a_job_that_ended_or_was_lost_is_not_started_again(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch, status: str
    ) -> None:
        layout.write_json(created / "status.json", {"state": status})
        monkeypatch.setattr(jobs, "_spawn", None)
        assert jobs.start(root, request()) == {"state": "lost" if status == "running" else "ended"}

    def test_a_supervisor_that_has_said_its_last_word_does_not_hold_up_the_acknowledgement(
        self, root: Path, created: Path
    ) -> None:
        layout.write_last_word(created, {"exit": 0})
        supervisor = os.open(created / "lock", os.O_RDWR)
        fcntl.flock(supervisor, fcntl.LOCK_EX)
        assert jobs.ack(root, {"job": JOB}) == {"state": "gone"}
        os.close(supervisor)
        assert not created.exists()

    def test_a_job_that_is_acknowledged_while_it_is_cancelled_is_no_error(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jobs, "_outlast_supervisor", shutil.rmtree)
        assert jobs.cancel(root, {"job": JOB, "grace": 0}) == {"state": "unknown"}
        assert not created.exists()

    def test_nor_is_one_that_two_acknowledge_at_once(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layout.write_last_word(created, {"exit": 0})
        monkeypatch.setattr(processes, "end", lambda job, grace: shutil.rmtree(created))
        assert jobs.ack(root, {"job": JOB}) == {"state": "gone"}
        assert list((root / "jobs").iterdir()) == []

    def test_what_is_printed_just_before_the_end_is_told_with_it(
        self, created: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def end(folder: Path) -> str:
            (folder / "events.jsonl").write_text("{}\n")
            return "ended"

        monkeypatch.setattr(state, "of", end)
        assert events._await(created, 0, 0) == (b"{}\n", 3, "ended")

    def test_a_living_job_cannot_be_seized(self, created: Path) -> None:
        supervisor = os.open(created / "lock", os.O_RDWR)
        fcntl.flock(supervisor, fcntl.LOCK_EX)
        assert state.is_alive(created)
        assert state.seize(created) is None
        os.close(supervisor)
        assert not state.is_alive(created)

    def test_a_job_whose_supervisor_never_began_can_be_started_again(self, root: Path, created: Path) -> None:
        assert state.of(created) == "created"
        assert started(root) in ("running", "ended")
        wait_for_end(created)
        assert state.last_word(created)["exit"] == 0

    def test_a_job_cancelled_before_it_began_never_begins(self, root: Path, created: Path) -> None:
        assert jobs.cancel(root, {"job": JOB, "grace": 0}) == {"state": "ended"}
        assert started(root) == "ended"
        assert state.last_word(created) == {"state": "ended", "cancelled": True}

    def test_a_spoilt_status_is_a_lost_job(self, created: Path) -> None:
        (created / "status.json").write_bytes(b"")
        assert state.of(created) == "lost"

    def test_a_start_that_fails_leaves_no_lock_behind(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_memory(*_: object, **__: object) -> None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_memory)
            with pytest.raises(OSError, match="memory"):
                jobs.start(root, request())
        assert state.of(created) == "created"

    def test_two_creations_at_once_leave_one_job_and_no_draft(self, root: Path, created: Path) -> None:
        jobs._create(root, created, request())
        assert [entry.name for entry in created.parent.iterdir()] == [JOB]
