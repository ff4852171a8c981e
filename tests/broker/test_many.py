"""Many processes on one journal: one request is one job, and nothing that was said to be durable is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from broker import settings
from broker.journal import Journal
from tests import fakework
from tests.kill.rounds import ROOT

TABLES = {
    "jobs": "SELECT COUNT(*) FROM jobs",
    "done": "SELECT COUNT(*) FROM jobs WHERE state = 'done'",
    "attempts": "SELECT COUNT(*) FROM attempts WHERE state != 'running'",
    "published": "SELECT COUNT(*) FROM outputs WHERE state = 'published'",
    "hashes": "SELECT COUNT(*) FROM hashes",
    "health": "SELECT COUNT(*) FROM health",
}


def herd(what: str, folder: Path, count: int, seconds: float = 0) -> list[dict[str, Any]]:
    """Let so many processes loose; returns what each was told. None may fail, or complain."""
    command = [sys.executable, "-m", "tests.broker.herd", what, str(folder), str(count), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == count
    return told


def test_sixty_four_that_ask_for_the_same_at_once_get_one_job_that_runs_once(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "0.dat").write_bytes(b"the same")
    told = herd("submit", tmp_path, 64)
    with Journal(settings.load().journal) as journal:
        (job,) = journal.jobs()
        (attempt,) = journal.attempts(job.id)
    output = media / "0.worked.bin"
    assert told == [{"job": job.id, "state": "done", "outputs": [str(output)]}] * 64
    assert attempt.state == "done"
    assert output.read_bytes() == fakework.expected(b"the same")
    assert sorted(path.name for path in media.iterdir()) == ["0.dat", "0.worked.bin"]


def hammered(folder: Path, seconds: float) -> None:
    told = Counter[str]()
    for one in herd("hammer", folder, 8, seconds):
        told.update(one)
    with Journal(folder / "journal.sqlite3") as journal:
        found = {what: int(journal._db.rows(query)[0][0]) for what, query in TABLES.items()}
    print(f"\nhammered for {seconds} s: {found}")
    assert found == dict(told)


def test_eight_that_hammer_the_journal_lose_nothing(tmp_path: Path) -> None:
    hammered(tmp_path, 2)


@pytest.mark.soak
def test_eight_that_hammer_the_journal_for_a_minute_lose_nothing(tmp_path: Path) -> None:
    hammered(tmp_path, 60)
