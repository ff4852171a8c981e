"""Builds that fail, are cancelled, are killed, or are wanted twice: nothing half-built ever counts."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from _runner import build, environment, interpreters, layout, processes, state, supervisor
from _runner.layout import RunnerError

from tests.remote_scripts.runner.environments import (
    FIRST,
    SECOND,
    PacedUv,
    asked,
    events,
    job,
    messages,
    start,
    verb,
    wait_for,
)
from tests.remote_scripts.runner.job import JOB, wait_for_end


def refusal(root: Path, wanted: dict[str, Any]) -> tuple[str, str]:
    """Kind and words of the failure that providing ends with; nothing of the build is left."""
    with pytest.raises(RunnerError) as caught, environment.provided(root, job(root, FIRST), wanted):
        pass
    assert built(root) == []
    return caught.value.kind, str(caught.value)


def built(root: Path) -> list[Path]:
    """Folders of environments, whole or not."""
    return [entry for entry in (root / "envs").iterdir() if entry.is_dir()]


class TestFailures:
    def test_a_version_that_is_not_there(self, root: Path, tiny: Path) -> None:
        kind, words = refusal(root, asked(dependencies=["tinypack==9"], install="pip install 'tinypack==9'"))
        assert kind == "missing"
        assert words == (
            "the environment cannot be installed: No matching distribution found for tinypack==9; "
            "install with: pip install 'tinypack==9'"
        )

    def test_uv_s_words(self, root: Path, tiny: Path, real_uv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(real_uv.parent))
        kind, words = refusal(root, asked(dependencies=["tinypack==9"]))
        assert kind == "missing"
        assert "no version of tinypack==9" in words

    def test_a_python_that_cannot_be_fetched(
        self, root: Path, tiny: Path, real_uv: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(real_uv.parent))
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
        monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(root / "none"))
        kind, words = refusal(root, asked(requires_python=">=3.29"))
        assert kind == "missing"
        assert "Python 3.29" in words
        assert words.endswith("; install with: uv python install '3.29'")

    @pytest.mark.parametrize(
        "said", ["ERROR: [Errno 28] No space left on device", "error: x (os error 122)", "Disk quota exceeded"]
    )
    def test_a_full_disk(self, root: Path, uv: PacedUv, said: str) -> None:
        uv.fail(said)
        assert refusal(root, asked())[0] == "no_space"

    def test_a_disk_that_takes_no_more(self, root: Path, uv: PacedUv, monkeypatch: pytest.MonkeyPatch) -> None:
        uv.fail("hm")
        monkeypatch.setattr(layout, "is_full", lambda folder: True)
        assert refusal(root, asked())[0] == "no_space"

    def test_an_installer_that_lies(self, root: Path, uv: PacedUv) -> None:
        kind, words = refusal(root, asked(dependencies=["tinypack==9"]))
        assert (kind, words) == ("failed", "the environment that was installed is not what was asked for")

    def test_installers_are_ended_before_what_they_made_is_deleted(
        self, root: Path, uv: PacedUv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []
        monkeypatch.setattr(processes, "end", lambda job, grace: seen.append(len(built(root))))
        uv.fail("hm")
        refusal(root, asked())
        assert seen == [1]

    def test_an_installer_that_says_nothing(self, root: Path, uv: PacedUv) -> None:
        uv.fail("")
        assert "its installer ended with status 1; " in refusal(root, asked())[1]

    def test_debian_without_venv(self, root: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lacks = interpreters.Interpreter("/usr/bin/python3", "3.11.2", {"tinypack": None}, [])
        monkeypatch.setattr(interpreters, "here", lambda names: lacks)
        kind, words = refusal(root, asked())
        assert kind == "missing"
        assert "python3-venv" in words.partition("; install with: ")[2]

    def test_virtualenv_serves_where_venv_does_not(self) -> None:
        assert build._maker(interpreters.Interpreter("p", "3.11", {}, ["virtualenv"])) == "virtualenv"
        assert build._maker(interpreters.Interpreter("p", "3.11", {}, ["ensurepip", "virtualenv"])) == "venv"

    @pytest.mark.parametrize(
        ("output", "said"),
        [
            ("Collecting a\nERROR: first\nERROR: last\nnotice\n", "last"),
            ("Resolved\nerror: Failed to fetch\n  cause: dns error\n", "error: Failed to fetch cause: dns error"),
            ("  × No solution found:\n  ╰─▶ Because a and\n      b.\n", "No solution found: Because a and b."),
            ("something\nelse\n\n", "else"),
            ("ERROR: x; install with: rm", "x; install with rm"),
            ("", ""),
        ],
    )
    def test_what_is_told_of_their_words(self, output: str, said: str) -> None:
        assert build.telling(output) == said


class TestEvents:
    @pytest.mark.parametrize("wrote", [3, OSError(errno.ENOSPC, "full")])
    def test_a_line_is_written_whole_or_not_at_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrote: Any
    ) -> None:
        build.say(tmp_path, "one")

        class Full(io.FileIO):
            def write(self, data: Any) -> int:
                if isinstance(wrote, OSError):
                    raise wrote
                return int(super().write(data[:wrote]))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", lambda path, mode, buffering=-1: Full(path, mode))
            build.say(tmp_path, "two")
        build.say(tmp_path, "three")
        assert messages(tmp_path) == ["one", "three"]


class TestHeart:
    def test_it_beats_while_an_environment_is_built(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch, signals: None
    ) -> None:
        @contextmanager
        def provided(root: Path, job: Path, environment: dict[str, Any]) -> Iterator[str]:
            assert signal.getitimer(signal.ITIMER_REAL)[1] == supervisor.HEARTBEAT
            yield sys.executable

        monkeypatch.setattr(environment, "provided", provided)
        assert supervisor._run(root, created) == 0


class TestCancel:
    def test_it_ends_the_build_and_leaves_nothing(self, root: Path, uv: PacedUv) -> None:
        uv.hold()
        folder = start(root, JOB, asked())
        uv.waits()
        assert len(processes.find(JOB)) >= 2
        assert verb(root, "cancel", {"job": JOB, "grace": 0}) == {"v": 1, "state": "ended"}
        assert processes.find(JOB) == set()
        assert (state.last_word(folder) or {})["cancelled"] is True
        assert built(root) == []
        uv.go()
        again = start(root, JOB + "2", asked())
        wait_for_end(again)
        assert (state.last_word(again) or {})["exit"] == 0

    def test_one_that_waits_for_another_s_build_ends_too(self, root: Path, uv: PacedUv) -> None:
        uv.hold()
        start(root, JOB, asked())
        uv.waits()
        other = start(root, JOB + "2", asked())
        wait_for(other / "events.jsonl", "waiting for it")
        verb(root, "cancel", {"job": JOB + "2", "grace": 0})
        assert "error" in (state.last_word(other) or {}), "its supervisor had to be killed"
        verb(root, "cancel", {"job": JOB, "grace": 0})

    def test_a_signal_to_the_supervisor_ends_it_too(self, root: Path, uv: PacedUv) -> None:
        uv.hold()
        folder = start(root, JOB, asked())
        uv.waits()
        os.kill(json.loads((folder / "status.json").read_text())["pid"], signal.SIGTERM)
        wait_for_end(folder)
        assert (state.last_word(folder) or {})["terminated"] == "SIGTERM"
        assert processes.find(JOB) == set()
        assert built(root) == []


class TestAtOnce:
    def test_two_jobs_build_it_once(self, root: Path, uv: PacedUv) -> None:
        uv.hold()
        first = start(root, JOB, asked())
        uv.waits()
        second = start(root, JOB + "2", asked())
        wait_for(second / "events.jsonl", "waiting for it")
        assert messages(second) == ["another job is installing the environment; waiting for it"]
        uv.go()
        for folder in (first, second):
            wait_for_end(folder)
            assert (state.last_word(folder) or {})["exit"] == 0
        assert uv.installs == 1
        assert events(first, "versions") == events(second, "versions")

    def test_one_that_waits_does_not_wait_for_the_first_job_s_end(self, root: Path, uv: PacedUv) -> None:
        with environment.provided(root, job(root, FIRST), asked()):
            done = threading.Event()

            def second() -> None:
                with environment.provided(root, job(root, SECOND), asked()):
                    done.set()

            threading.Thread(target=second, daemon=True).start()
            assert done.wait(60)
        assert uv.installs == 1

    def test_after_a_killed_supervisor_the_next_job_builds(self, root: Path, uv: PacedUv) -> None:
        # Its installer lives on and holds the lock: it is ended, though nobody asks after its job.
        uv.hold()
        first = start(root, JOB, asked())
        uv.waits()
        os.kill(json.loads((first / "status.json").read_text())["pid"], signal.SIGKILL)
        second = start(root, JOB + "2", asked())
        wait_for(second / "events.jsonl", '"installing the environment"')
        assert processes.find(JOB) == set()
        uv.go()
        wait_for_end(second)
        assert (state.last_word(second) or {})["exit"] == 0
        assert uv.installs == 2

    def test_the_installer_holds_the_lock(self, root: Path, uv: PacedUv) -> None:
        uv.hold()
        first = start(root, JOB, asked())
        uv.waits()
        os.kill(json.loads((first / "status.json").read_text())["pid"], signal.SIGKILL)
        (lock,) = (root / "envs").glob("*.lock")
        with lock.open("r+") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        processes.end(JOB, grace=0)
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
