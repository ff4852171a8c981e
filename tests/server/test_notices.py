"""What a person should see to is told until it is done: in health, in the log, and by `offload doctor`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from broker import settings
from broker.broker import Broker
from server.access import Access
from server.desk import Desk
from tests.media import clip
from tests.server.asking import ask, folders, http, over, upload, wish
from tests.services.typed import offload

__all__ = ["http"]


def spoil() -> Path:
    """Damage the journal; returns its file."""
    file = settings.load().journal
    file.write_bytes(b"this is no database" * 1000)
    return file


def told(http: httpx.Client) -> list[tuple[str, str]]:
    return [(one["said"], one["command"]) for one in http.get("/v1/health").json()["notices"]]


def test_a_journal_that_was_lost_and_its_results_are_told_of_until_they_are_deleted(
    http: httpx.Client, offload_dirs: Path, tmp_path: Path
) -> None:
    data = clip(tmp_path / "clip.mp4", 0.2).read_bytes()
    for key in "ab":
        assert over(http, ask(http, wish(upload(http, data)), key).json()["job"])["state"] == "done"
    assert told(http) == []
    file = spoil()
    (journal, way), (results, many) = told(http)
    [aside] = file.parent.glob("journal-damaged-*.sqlite3")
    assert str(aside) in journal and way.split()[:2] == ["rm", str(aside)]
    assert results.startswith("2 folders in ") and many == "offload doctor"
    lines = [line for line in offload(tmp_path, "doctor").lines if line.startswith("note")]
    assert [line.partition(":")[0] for line in lines] == ["note  journal", "note  results", "note  results"]
    both = folders(offload_dirs)
    assert len(both) == 2 and all(folder.is_dir() for folder in both)
    commands = [line.split("`")[1] for line in lines]
    assert sorted(commands[1:]) == sorted(f"rm -r {folder}" for folder in both)
    subprocess.run(commands[1], shell=True, check=True)
    assert [command for _, command in told(http)] == [commands[0], commands[2]]
    for command in (commands[0], commands[2]):
        subprocess.run(command, shell=True, check=True)
    assert told(http) == [] and folders(offload_dirs) == []


def test_the_log_says_it_too_and_once(offload_dirs: Path, caplog: pytest.LogCaptureFixture) -> None:
    lost = offload_dirs / "state/server/jobs" / ("a" * 32)
    (lost / "out").mkdir(parents=True)
    (lost / "out" / "clip.mp4").touch()
    desk = Desk(settings.load(), Access("0" * 40), 1)
    for _ in range(2):
        desk._sweep_jobs()
    [said] = [one.message for one in caplog.records if str(lost) in one.message]
    assert f"`rm -r {lost}`" in said and lost.exists()


def test_what_a_job_has_is_not_lost(http: httpx.Client, tmp_path: Path) -> None:
    job = ask(http, wish(upload(http, clip(tmp_path / "clip.mp4", 0.2).read_bytes()))).json()["job"]
    assert over(http, job)["state"] == "done" and told(http) == []
    with Broker(settings.load()) as broker:
        broker.remove(broker.journal.job(job))  # and the server's folder is not
    [(said, command)] = told(http)
    assert "is in no journal" in said and command.startswith("rm -r ")
