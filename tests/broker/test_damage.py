"""A journal that is damaged is set aside, and its open jobs are found again: here, and where they run."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import ConfigError, LimitError
from broker.events import Progress, Published
from broker.job import State
from broker.journal import Journal
from broker.stop import Stop
from tests.broker.faulty import FaultyExecutor
from tests.broker.jobs import drive, ledger, let_go, only_job, request, right
from tests.broker.test_journal import submit
from tests.kill.rounds import ROOT
from tests.processes import of_job

Box = type[FaultyExecutor]


class Killed(BaseException):
    """The process died here."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def damage(path: Path, how: str) -> bytes:
    """Damage a journal; returns what is in the file now."""
    data = bytearray(path.read_bytes())
    if how == "rubbish":
        data[:] = b"this is not a database" * 100
    elif how == "cut":
        del data[len(data) // 2 :]
    else:
        begin, end = (4096, len(data)) if how == "holes" else page_of(path, how)
        data[begin:end] = b"\xa5" * (end - begin)
    path.write_bytes(data)
    return bytes(data)


def page_of(path: Path, table: str) -> tuple[int, int]:
    """Where a table's first page begins and ends."""
    with sqlite3.connect(path) as db:
        [(number,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
    db.close()
    return (number - 1) * 4096, number * 4096


@pytest.mark.parametrize("how", ["rubbish", "holes", "cut"])
def test_a_damaged_journal_is_set_aside_whole_and_a_new_one_begun(how: str, path: Path) -> None:
    with Journal(path) as journal:
        for number in range(50):
            submit(journal, f"key{number}")
    content = damage(path, how)
    aside = _opened_until_it_works(path)
    assert aside.parent == path.parent
    assert aside.read_bytes() == content
    with Journal(path) as journal:
        assert journal.aside is None
        assert len(journal.jobs()) == 1


def _opened_until_it_works(path: Path) -> Path:
    """Use a journal; where the damage shows only then, once more. Returns where it was put."""
    for tries_left in (1, 0):
        try:
            with Journal(path) as journal:
                journal.jobs(1000)
                submit(journal, "another")
                assert journal.aside is not None
                return journal.aside
        except ConfigError as error:
            assert tries_left
            assert str(path) in str(error)
            assert "set aside" in error.hint
    raise AssertionError


def test_a_journal_with_a_wound_that_shows_late_names_itself_and_is_set_aside_next_time(path: Path) -> None:
    with Journal(path) as journal:
        for number in range(50):
            submit(journal, f"key{number}")
    damage(path, "jobs")
    with pytest.raises(ConfigError, match="is damaged") as caught, Journal(path) as journal:
        journal.jobs(1000)
        pytest.fail("read a damaged journal")
    assert str(path) in str(caught.value)
    with Journal(path) as journal:
        assert journal.aside is not None
        assert journal.jobs() == []


def test_of_many_that_find_it_damaged_one_sets_it_aside(path: Path) -> None:
    with Journal(path) as journal:
        submit(journal)
    content = damage(path, "rubbish")
    code = (
        "import os, sys; from pathlib import Path; from broker.journal import Journal\n"
        "from tests.broker.test_journal import submit\n"
        "sys.stdin.read(1)\n"
        "with Journal(Path(sys.argv[1])) as journal: submit(journal, str(os.getpid()))"
    )
    pipe = subprocess.PIPE
    opening = [subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, stdin=pipe) for _ in range(6)]
    for process in opening:
        assert process.stdin
        process.stdin.close()
    assert [process.wait() for process in opening] == [0] * 6
    (aside,) = path.parent.glob("journal-damaged-*.sqlite3")
    assert aside.read_bytes() == content
    with Journal(path) as journal:
        assert len(journal.jobs()) == 6


def test_a_sound_journal_that_was_suspected_stays(path: Path) -> None:
    with Journal(path) as journal:
        job = submit(journal)
    path.with_name(f"{path.name}.damaged").touch()
    with Journal(path) as journal:
        assert journal.aside is None
        assert journal.job(job).id == job
    assert not path.with_name(f"{path.name}.damaged").exists()


# The jobs in it


def test_an_open_job_is_found_again_where_it_runs(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold", 0)
    asked = request(tmp_path / "media", b"one", b"two", hold=str(hold), on="box")
    job = broker.submit(asked)
    page = ledger(broker.journal, job.id)
    page.end_attempt(page.begin_attempt("box", "an attempt that was lost"), "lost", "gone", {})
    driven = broker.drive(job, Stop())
    for event in driven:
        if isinstance(event, Published):  # the first item is done, the second at work
            break
    with pytest.raises(Killed):
        driven.throw(Killed)  # type: ignore[attr-defined]
    attempt = broker.journal.attempts(job.id)[-1]
    assert of_job(attempt.remote)
    broker.journal.close()
    content = damage(broker.settings.journal, "rubbish")

    with Broker(settings.load()) as anew:
        aside, found = anew.notices
        assert "journal-damaged-" in aside
        assert job.id in found
        assert Path(aside.partition("kept as ")[2].partition(",")[0]).read_bytes() == content
        left = anew.unfinished(asked)
        assert left is not None
        assert (left.id, left.on, left.state) == (job.id, "box", State.RUNNING)
        puts = len([word for name, word, _ in box.asked if name == "put"])
        let_go(hold, 1)
        told = drive(anew, left)
        assert right(asked)
        (again,) = anew.journal.attempts(job.id)
        assert (again.remote, again.state) == (attempt.remote, "done")
        assert len([word for name, word, _ in box.asked if name == "put"]) == puts  # nothing was sent again
        assert {event.index for event in told if isinstance(event, Progress)} <= {0, 1}
    with Broker(settings.load()) as later:
        assert later.notices == []


def test_what_cannot_be_found_any_more_is_done_anew(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    job = broker.submit(asked)
    broker.journal.close()
    damage(broker.settings.journal, "rubbish")
    with Broker(settings.load()) as anew:
        drive(anew, only_job(anew))
        assert right(asked)
        assert only_job(anew).id == job.id


def test_a_job_that_is_over_leaves_no_backup_and_is_not_restored(broker: Broker, tmp_path: Path) -> None:
    backups = broker.settings.state_dir / "open"
    drive(broker, request(tmp_path / "media", b"one"))
    assert list(backups.iterdir()) == []
    job = broker.submit(request(tmp_path / "other", b"two"))
    assert [path.stem for path in backups.iterdir()] == [job.id]
    broker.cancel(job)
    assert list(backups.iterdir()) == []
    job = broker.submit(request(tmp_path / "third", b"two"))
    broker.remove(job)
    assert list(backups.iterdir()) == []


def test_a_job_that_is_asked_for_again_has_a_backup_again(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", digest=True)
    job = broker.submit(asked)
    broker.cancel(job)
    broker.reopen(job)
    before = broker.journal.job(job.id)
    broker.journal.close()
    damage(broker.settings.journal, "rubbish")
    with Broker(settings.load()) as anew:
        after = anew.journal.job(job.id)
        assert (after.items, after.params, after.command) == (before.items, before.params, before.command)
        left = anew.unfinished(asked)
        assert left is not None
        drive(anew, left)
        assert right(asked)


def test_hostile_names_survive_a_backup(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "caf\udce9 \n'\"\u65e5", b"one")
    job = broker.submit(asked)
    broker.journal.close()
    damage(broker.settings.journal, "rubbish")
    with Broker(settings.load()) as anew:
        assert anew.journal.job(job.id).items == job.items
        drive(anew, job)
        assert right(asked)


def test_a_damaged_backup_costs_its_job_only(broker: Broker, tmp_path: Path) -> None:
    jobs = [broker.submit(request(tmp_path / str(number), b"one")) for number in range(2)]
    (broker.settings.state_dir / "open" / f"{jobs[0].id}.json").write_text("{")
    broker.journal.close()
    damage(broker.settings.journal, "rubbish")
    with Broker(settings.load()) as anew:
        assert [job.id for job in anew.journal.jobs()] == [jobs[1].id]


@pytest.mark.parametrize("how", ["rubbish", "holes"])
def test_a_journal_that_is_damaged_under_a_running_job_stops_no_work_and_loses_none(
    how: str, box: Box, broker: Broker, tmp_path: Path
) -> None:
    asked = request(tmp_path / "media", b"one", b"two", seconds=1.5, on="box")
    job, stop = broker.submit(asked), Stop()
    with suppress(ConfigError):  # whether its driver notices depends on which pages it reads again
        for event in broker.drive(job, stop):
            if isinstance(event, Progress) and event.fraction < 0.1:
                damage(broker.settings.journal, how)
    assert not stop.requested
    with Broker(settings.load()) as anew:
        left = anew.unfinished(asked)
        if left is not None:
            assert left.id == job.id
            drive(anew, left)
    assert right(asked)


def test_who_only_looks_sets_nothing_aside(path: Path) -> None:
    with Journal(path) as journal:
        submit(journal)
    content = damage(path, "rubbish")
    with pytest.raises(ConfigError, match="is damaged"):
        Journal(path, mend=False)
    assert path.read_bytes() == content
    assert not list(path.parent.glob("*damaged-*"))


def test_a_job_whose_journal_another_process_lost_is_restored_too(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    job = broker.submit(asked)
    broker.journal.close()
    damage(broker.settings.journal, "rubbish")
    Journal(broker.settings.journal).close()  # it died before it could restore anything
    with Broker(settings.load()) as anew:
        assert [job.id in notice for notice in anew.notices] == [True]
        drive(anew, job)
    assert right(asked)


def test_an_error_of_a_disk_without_room_is_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with Journal(path) as journal:
        assert isinstance(journal._db._sentence(error), ConfigError)
        monkeypatch.setattr("broker.database.SPARE_BYTES", 2**62)
        assert isinstance(journal._db._sentence(error), LimitError)
