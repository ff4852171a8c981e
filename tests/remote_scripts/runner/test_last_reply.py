"""A job's last reply: it may bring the log and delete the job, and never loses what was not told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _runner import events, layout

from tests.remote_scripts.runner.job import JOB


def asked(root: Path, **more: Any) -> dict[str, Any]:
    return events.events(root, {"job": JOB, "since": 0, "wait": 0, **more})


def test_a_job_that_has_ended_is_deleted_with_it(root: Path, created: Path) -> None:
    (created / "log.txt").write_bytes(b"a warning\xff\n")
    layout.write_last_word(created, {"exit": 0})
    reply = asked(root, ack=True)
    assert (reply["state"], reply["log"], reply["ending"]["exit"]) == ("ended", "a warning\ufffd\n", 0)
    assert not created.exists()


@pytest.mark.parametrize("state", ["running", "lost"])
def test_one_that_has_not_is_kept(state: str, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout.write_json(created / "status.json", {"state": "running"})
    monkeypatch.setattr(events.state, "is_alive", lambda folder: state == "running")
    reply = asked(root, ack=True)
    assert reply["state"] == state
    assert "log" not in reply
    assert created.exists()


def test_nobody_asked_for_it(root: Path, created: Path) -> None:
    layout.write_last_word(created, {"exit": 0})
    assert "log" not in asked(root)
    assert created.exists()


@pytest.mark.parametrize("log", [b"x" * 57_344, b"\0" * 10_000], ids=["long", "long when it is told"])
def test_a_log_that_is_too_long_for_a_reply_stays_to_be_fetched(log: bytes, root: Path, created: Path) -> None:
    (created / "log.txt").write_bytes(log)
    layout.write_last_word(created, {"exit": 0})
    assert "log" not in asked(root, ack=True)
    assert (created / "log.txt").read_bytes() == log


def test_nor_is_anything_deleted_before_all_was_read(root: Path, created: Path) -> None:
    (created / "events.jsonl").write_bytes(b'{"type":"log"}\n' * 5000)
    layout.write_last_word(created, {"exit": 0})
    reply = asked(root, ack=True)
    assert reply["state"] == "running"
    assert created.exists()
