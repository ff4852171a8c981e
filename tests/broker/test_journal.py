"""The journal: durable, shared by processes, and clear about what it cannot use."""

from __future__ import annotations

import inspect
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from broker import schema
from broker.broker import Broker
from broker.database import Database
from broker.errors import Busy, ConfigError, LimitError, Overtaken, UsageError
from broker.history import Observation
from broker.job import FileId, Input, Payload, Request, State
from broker.journal import Journal
from broker.ledger import LOG_CHARS, Ledger
from broker.reports import Checkpoint
from broker.targets import Target
from tests.broker.jobs import ledger, request
from tests.kill.rounds import ROOT

SHA = "a" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def asked(*sources: Path) -> tuple[Request, list[tuple[FileId, str]]]:
    entries = tuple(Input(source, {"worked.bin": source.with_suffix(".bin"), "more.txt": source}) for source in sources)
    return Request("fake", Path("/work.py"), {"seconds": 1}, entries), [(FileId(1, 2, 3), SHA)] * len(sources)


def submit(journal: Journal, key: str = "key", *sources: Path) -> str:
    wanted, inputs = asked(*(sources or (Path("/a.dat"),)))
    return journal.submit(wanted, key, inputs, {"pixels": 1}).id


def test_a_job_is_there_after_the_process_died(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from broker.journal import Journal\n"
        "from tests.broker.test_journal import submit\n"
        "print(submit(Journal(Path(sys.argv[1]))), flush=True); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert died.returncode == -9
    with Journal(path) as journal:
        assert journal.job(died.stdout.strip()).state is State.QUEUED


def test_what_goes_in_comes_out(path: Path) -> None:
    hostile = [
        Path(os.fsdecode(b"/tmp/caf\xe9 \xff.dat")),
        Path("/tmp/a\nb'\"; DROP TABLE jobs.dat"),
        Path("/täst/日本.dat"),
    ]
    wanted, inputs = asked(*hostile)
    with Journal(path) as journal:
        made = journal.submit(wanted, "key", inputs, {"pixels": 1})
    with Journal(path) as journal:
        job = journal.job(made.id)
    assert job == made
    assert [item.source for item in job.items] == hostile
    assert [output.dest for output in job.items[0].outputs] == [hostile[0].with_suffix(".bin"), hostile[0]]
    assert [output.name for output in job.items[0].outputs] == ["worked.bin", "more.txt"]
    assert (job.params, job.limits, job.items[2].file_id) == ({"seconds": 1}, {"pixels": 1}, FileId(1, 2, 3))


def test_submit_is_all_or_nothing(path: Path) -> None:
    wanted, inputs = asked(Path("/a"), Path("/b"))
    with Journal(path) as journal:
        with pytest.raises(ValueError, match="zip"):
            journal.submit(wanted, "key", inputs[:1], {})
        assert journal.jobs() == []


def test_the_unfinished_job_of_a_key_is_found_until_it_is_over(path: Path) -> None:
    with Journal(path) as journal:
        submit(journal, "other")
        job = submit(journal)
        for state in (None, State.RUNNING):
            if state:
                ledger(journal, job).advance(state)
            found = journal.unfinished("key")
            assert found is not None
            assert found.id == job
        ledger(journal, job).advance(State.DONE)
        assert journal.unfinished("key") is None
        assert journal.unfinished("unknown") is None


def test_the_same_request_at_the_same_time_is_one_job(path: Path) -> None:
    wanted, inputs = asked(Path("/a.dat"))
    with Journal(path) as journal:
        seen = journal.place()
        job = submit(journal)
        assert submit(journal) == job
        ledger(journal, job).advance(State.RUNNING)
        ledger(journal, job).advance(State.DONE)
        assert journal.submit(wanted, "key", inputs, {}, seen).id == job  # we looked before it was made
        assert journal.submit(wanted, "key", inputs, {}, journal.place()).id != job
        assert len(journal.jobs()) == 2


def test_jobs_are_found_by_how_their_id_begins_and_forgotten_whole(path: Path) -> None:
    with Journal(path) as journal:
        job = submit(journal)
        page = ledger(journal, job)
        page.keep_log(page.begin_attempt("local", "why"), "said")
        assert journal.with_prefix(job[:5]) == [job]
        assert journal.with_prefix("%") == []
        journal.forget(job)
        with pytest.raises(UsageError, match=f"no job {job}"):
            journal.job(job)
    with sqlite3.connect(path) as db:
        assert [db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in
                ("jobs", "items", "outputs", "attempts", "logs")] == [0] * 5  # fmt: skip
    db.close()


def test_find_wants_exactly_one(broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    broker.submit(request(tmp_path / "media2", b"one"))
    assert broker.find(job.id[:11]).id == job.id
    with pytest.raises(UsageError, match="no job is named ''"):
        broker.find("")
    with pytest.raises(UsageError, match="no job is named 'zz'"):
        broker.find("zz")


# Attempts


def test_only_the_latest_driver_may_write(path: Path) -> None:
    files = {"worked.bin": (5, SHA)}
    with Journal(path) as journal:
        job = submit(journal)
        late = ledger(journal, job)
        attempt = late.begin_attempt("box", "first")
        now = ledger(journal, job)
        before = list(journal._db._db.iterdump())
        for write in (
            lambda: late.check(),
            lambda: late.advance(State.RUNNING),
            lambda: late.reopen(),
            lambda: late.remark("waiting"),
            lambda: late.begin_attempt("local", "second"),
            lambda: late.adopt_attempt(3, "local"),
            lambda: late.recalled("cache", "made before", {}),
            lambda: late.recalled_in_vain(attempt, "lost"),
            lambda: late.may_remain(attempt),
            lambda: late.end_attempt(attempt, "done", "", {}),
            lambda: late.note_versions(attempt, {"a": 1}),
            lambda: late.keep_log(attempt, "said"),
            lambda: late.note_payload(0, Payload("short.dat", 5, SHA)),
            lambda: late.note_checkpoint(attempt, Checkpoint(0, "piece", 5, SHA)),
            lambda: late.drop_checkpoint(Checkpoint(0, "piece", 5, SHA)),
            lambda: late.observe(Target("box", "local", {}), [Observation("start", 1, 2)]),
            lambda: late.note_progress(0, 0.5),
            lambda: late.fail_item(0, "failed", "too late"),
            lambda: late.intend(attempt, 0, files, {}),
            lambda: late.published(0, "worked.bin", Path("/late.bin")),
        ):
            with pytest.raises(Overtaken, match=job):
                write()
        assert list(journal._db._db.iterdump()) == before

        second = now.begin_attempt("local", "second")
        assert (attempt.number, second.number) == (1, 2)
        assert attempt.remote != second.remote
        now.intend(second, 0, files, {"jitter": 1})
        output = journal.job(job).items[0].outputs[0]
        assert (output.state, output.size, output.sha256, output.attempt, output.term) == ("intent", 5, SHA, 2, 2)
        assert journal.job(job).items[0].measured == {"jitter": 1}


def test_every_way_to_write_is_refused_to_a_late_driver() -> None:
    reads = {"id", "term", "journal", "job", "attempts"}
    words = {name for name in dir(Ledger) if not name.startswith("_")} - reads
    source = inspect.getsource(test_only_the_latest_driver_may_write)
    assert {word for word in words if f"late.{word}(" not in source} == set()


def test_what_is_published_is_not_intended_again(path: Path) -> None:
    with Journal(path) as journal:
        job = submit(journal)
        page = ledger(journal, job)
        page.intend(page.begin_attempt("box", "why"), 0, {"worked.bin": (5, SHA)}, {})
        page.published(0, "worked.bin", Path("/beside.bin"))
        page.intend(page.begin_attempt("local", "why"), 0, {"worked.bin": (6, SHA)}, {})
        output = journal.job(job).items[0].outputs[0]
        assert (output.state, output.size, output.dest, output.attempt) == ("published", 5, Path("/beside.bin"), 1)


def test_a_forgotten_jobs_driver_writes_nothing(path: Path) -> None:
    with Journal(path) as journal:
        job = submit(journal)
        page = ledger(journal, job)
        attempt = page.begin_attempt("box", "why")
        journal.forget(job)
        with pytest.raises(Overtaken):
            page.intend(attempt, 0, {"worked.bin": (5, SHA)}, {})


def test_an_attempt_keeps_how_it_ended(path: Path) -> None:
    with Journal(path) as journal:
        page = ledger(journal, submit(journal))
        attempt = page.begin_attempt("box", "why")
        page.note_versions(attempt, {"fakework": "1"})
        page.end_attempt(attempt, "lost", "gone", {"run": 1.5})
        (found,) = page.attempts
        assert (found.state, found.error, found.versions, found.timings) == (
            "lost", "gone", {"fakework": "1"}, {"run": 1.5}
        )  # fmt: skip
        assert found.ended is not None
        assert found.ended >= found.started


def test_of_a_long_log_the_end_is_kept(path: Path) -> None:
    with Journal(path) as journal:
        page = ledger(journal, submit(journal))
        attempt = page.begin_attempt("box", "why")
        assert journal.log(attempt) is None
        page.keep_log(attempt, "x" * LOG_CHARS + "the end\0")
        assert len(journal.log(attempt) or "") == LOG_CHARS
        assert (journal.log(attempt) or "").endswith("the end\0")


def test_progress_is_that_of_each_item(path: Path) -> None:
    with Journal(path) as journal:
        job = submit(journal, "key", Path("/a"), Path("/b"))
        ledger(journal, job).note_progress(0, 0.5)
        assert journal.progress(job) == [0.5, 0.0]


def test_what_was_given_up_is_an_orphan_until_it_is_cleaned(path: Path) -> None:
    with Journal(path) as journal:
        page = ledger(journal, submit(journal))
        page.advance(State.RUNNING)
        never, lost, running = (page.begin_attempt(target, "why") for target in ("away", "box", "local"))
        page.end_attempt(never, "lost", "never there", {})
        for attempt in (lost, running):
            page.may_remain(attempt)
        assert journal.orphans() == []  # both may still be taken up
        page.end_attempt(lost, "lost", "gone", {})
        assert [orphan.id for orphan in journal.orphans()] == [lost.id]
        page.advance(State.CANCELLED)
        assert [orphan.id for orphan in journal.orphans()] == [lost.id, running.id]
        journal.cleaned(lost)
        assert [orphan.id for orphan in journal.orphans()] == [running.id]


def test_a_job_that_failed_may_be_queued_again_for_what_is_missing(path: Path) -> None:
    with Journal(path) as journal:
        job = submit(journal, "key", Path("/a"), Path("/b"))
        page = ledger(journal, job)
        page.advance(State.RUNNING)
        page.fail_item(1, "failed", "no")
        journal.want(job, False)
        page.advance(State.PARTLY, "some", 101, "offload jobs logs")
        assert (journal.ending(job).exit_code, journal.ending(job).hint) == (101, "offload jobs logs")
        page.reopen()
        assert page.job.state is State.QUEUED
        assert page.job.items[1].open
        assert journal.wanted(job)
        ending = journal.ending(job)
        assert (ending.ended, ending.error, ending.hint, ending.exit_code) == (None, "", "", None)


# The file


def test_a_newer_journal_is_refused_with_a_sentence_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version={len(schema.STEPS) + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="newer version of this program") as caught:
        Journal(path)
    assert str(path) in str(caught.value)
    assert "OFFLOAD_STATE_DIR" in caught.value.hint
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
    db.close()
    assert len(path.read_bytes()) == len(before)


def test_a_clock_set_back_hides_no_new_job(path: Path) -> None:
    with Journal(path) as journal:
        first, later = submit(journal, "one"), submit(journal, "two")
        journal._db.execute("UPDATE jobs SET created = created + 1e8 WHERE id = ?", (first,))
        assert [job.id for job in journal.jobs(1)] == [later]
        [(place, job)] = journal.placed(1).items()
        journal.forget(job.id)
        assert [job.id for job in journal.jobs(1, before=place)] == [first]


def test_a_journal_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        Journal(tmp_path / "file" / "journal.sqlite3")
    (tmp_path / "folder.sqlite3").mkdir()
    with pytest.raises(ConfigError, match="cannot be used"):
        Journal(tmp_path / "folder.sqlite3")


def test_a_full_disk_is_a_limit_and_loses_nothing(path: Path) -> None:
    with Journal(path) as journal:
        job = submit(journal)
        journal._db.execute("PRAGMA max_page_count=1")  # what a full disk says, without one
        with pytest.raises(LimitError, match="is full"):
            submit(journal, "large", *(Path(f"/{'x' * 900}{n}.dat") for n in range(500)))
        assert [found.id for found in journal.jobs()] == [job]


def test_many_processes_open_a_new_journal_at_once(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from broker.journal import Journal\n"
        "from tests.broker.test_journal import submit\n"
        "sys.stdin.read(1)\n"
        "with Journal(Path(sys.argv[1])) as journal:\n"
        "    for number in range(10): submit(journal, f'{os.getpid()}-{number}')\n"
    )
    here, there = os.pipe()
    opening = [subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, stdin=here) for _ in range(8)]
    os.close(here)
    os.close(there)  # the starting gun
    assert [process.wait() for process in opening] == [0] * 8
    with Journal(path) as journal:
        assert len(journal.jobs(1000)) == 80


def test_a_writer_that_was_stopped_in_the_middle_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.database.BUSY_SECONDS", 0.1)
    with Journal(path) as one, Journal(path) as other, one._db.write():
        with pytest.raises(Busy, match="it may be stopped") as caught:
            submit(other)
        assert caught.value.exit_code == 5
        assert "type the same again" in caught.value.hint


def test_a_stop_inside_a_transaction_leaves_the_journal_usable(path: Path) -> None:
    with Journal(path) as journal:
        with pytest.raises(KeyboardInterrupt), journal._db.write():
            journal._db.execute("DELETE FROM jobs")
            raise KeyboardInterrupt
        submit(journal)
        with pytest.raises(KeyboardInterrupt), journal._db.write():
            journal._db.execute("DELETE FROM jobs")
            raise KeyboardInterrupt
        assert len(journal.jobs()) == 1


def test_readers_do_not_wait_for_a_writer_and_writers_do(path: Path) -> None:
    with Journal(path) as one:
        job = submit(one)
        done = threading.Event()
        with one._db.write(), Journal(path) as other:
            assert other.job(job).id == job
            writer = threading.Thread(target=_advance, args=(path, job, done))
            writer.start()
            assert not done.wait(0.2)
        writer.join()
        assert one.job(job).state is State.RUNNING


def _advance(path: Path, job: str, done: threading.Event) -> None:
    with Journal(path) as journal:
        ledger(journal, job).advance(State.RUNNING)
    done.set()


def test_who_is_told_that_a_new_journal_is_locked_asks_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = iter([True, True, False])

    def execute(self: Database, statement: str, values: Sequence[Any] = ()) -> int:
        if "journal_mode" in statement and next(refused):
            raise Busy("another process has been writing")  # SQLite does not wait in this one place
        return really(self, statement, values)

    really = Database.execute
    monkeypatch.setattr(Database, "execute", execute)
    Journal(path).close()
    assert next(refused, None) is None
