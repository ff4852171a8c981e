"""`offload jobs`: what people see of their jobs, and what they can do with them."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.job import Input, Preparation, Request
from broker.stop import Stop
from tests.services.typed import FAKE, OFFLOAD, environment, fake, offload

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def done(here: Path, data: Path) -> str:
    """A job that is over; its id."""
    assert fake(here, "a.dat", "--noise").code == 0
    return latest(here)


def latest(here: Path) -> str:
    """Id of the latest job."""
    found: str = offload(here, "jobs", "ls", "--json").document[0]["job"]
    return found


def test_no_jobs_is_no_error(here: Path) -> None:
    said = offload(here, "jobs", "ls")
    assert (said.code, said.out, said.err) == (0, b"", "no jobs yet\n")
    assert offload(here, "jobs", "ls", "--json").document == []


def test_ls_shows_the_latest_first(here: Path, done: str) -> None:
    (here / "b.dat").write_text("!bad_input")
    assert fake(here, "a.dat", "b.dat", "--overwrite").code == 101
    rows = [line.split("\t") for line in offload(here, "jobs", "ls").lines]
    assert [(row[1], row[2], row[5]) for row in rows] == [
        ("partly", "fake", "a.dat and 1 more"),
        ("done", "fake", "a.dat"),
    ]
    assert rows[1][0] == done
    assert re.fullmatch(r"\d+ (s|min) ago", rows[1][4])
    assert len(offload(here, "jobs", "ls", "-n", "1").lines) == 1
    assert offload(here, "jobs", "ls", "-n", "0").code == 2


def test_show_tells_the_whole_story(here: Path, done: str) -> None:
    story = offload(here, "jobs", "show", done[:6]).out.decode()
    for part in (
        done,
        "done",
        "--noise a.dat",
        str(here / "a.worked.bin"),
        "200000 bytes",
        "attempt 1",
        "local",
        "  9 bytes\n",
    ):
        assert part in story
    receipt = offload(here, "jobs", "show", done, "--json").document
    assert (receipt["job"], receipt["state"]) == (done, "done")


def test_show_tells_the_size_of_a_file_and_of_what_was_prepared_of_it(here: Path, data: Path, broker: Broker) -> None:
    asked = Request("fake", FAKE.with_name("work.py"), {"seconds": 0}, (Input(data, {"worked.bin": here / "a.bin"}),))
    job = broker.submit(replace(asked, prepare=Preparation(FAKE.with_name("shorten.py"), {"bytes": 3})))
    list(broker.drive(job, Stop()))
    assert "  9 bytes; prepared: 3 bytes (33.3%)\n" in offload(here, "jobs", "show", job.id).out.decode()


def test_show_tells_what_failed(here: Path) -> None:
    (here / "b.dat").write_text("!failed")
    assert fake(here, "b.dat").code == 6
    assert "it does not work" in offload(here, "jobs", "show", latest(here)).out.decode()


def test_logs_show_what_the_script_said_and_drive_no_terminal(here: Path, data: Path) -> None:
    assert fake(here, "a.dat", "--trouble", "exit").code == 6
    log = offload(here, "jobs", "logs", latest(here)).out.decode()
    assert log.startswith("--- attempt 1 on local: failed\n")
    assert "giving \\x1b[2Jup" in log
    assert not CONTROLS.search(log)


def test_names_drive_no_terminal(here: Path) -> None:
    (here / "evil\x1b[2J\n\udcff.dat").write_text("work")
    assert fake(here, ".").code == 0
    for words in (["ls"], ["show", latest(here)]):
        out = offload(here, "jobs", *words).out.decode()
        assert "evil\\x1b[2J\\n\\xff.dat" in out
        assert not CONTROLS.search(out)


@pytest.mark.parametrize("verb", ["show", "logs", "cancel", "rm"])
def test_an_unknown_job_is_named(here: Path, done: str, verb: str) -> None:
    said = offload(here, "jobs", verb, "zzz")
    assert (said.code, said.out) == (2, b"")
    assert "zzz" in said.err
    assert "jobs ls" in said.err


@pytest.mark.parametrize("verb", ["show", "logs", "attach", "retry", "cancel", "rm"])
def test_nothing_names_no_job_though_there_is_but_one(here: Path, done: str, verb: str) -> None:
    said = offload(here, "jobs", verb, "")
    assert (said.code, said.out) == (2, b"")
    assert "no job is named ''" in said.err
    assert latest(here) == done


def test_an_ambiguous_job_is_refused(here: Path, done: str) -> None:
    assert fake(here, "a.dat", "--overwrite").code == 0
    with sqlite3.connect(settings.load().journal) as journal:
        journal.execute("PRAGMA foreign_keys=OFF")
        for number, (job,) in enumerate(journal.execute("SELECT id FROM jobs").fetchall()):
            for table, column in (("jobs", "id"), ("items", "job"), ("outputs", "job"), ("attempts", "job")):
                journal.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (f"abc{number}", job))
    journal.close()
    said = offload(here, "jobs", "show", "abc")
    assert said.code == 2
    assert "2 jobs" in said.err
    assert "abc" in said.err
    assert offload(here, "jobs", "show", "abc0").code == 0
    assert offload(here, "jobs", "show", "%").code == 2


def test_rm_forgets_the_job_and_keeps_its_results(here: Path, done: str) -> None:
    said = offload(here, "jobs", "rm", done)
    assert (said.code, said.out) == (0, b"")
    assert done in said.err
    assert offload(here, "jobs", "ls", "--json").document == []
    assert (here / "a.worked.bin").exists()
    assert not list((settings.load().cache_dir / "local" / "jobs").glob(f"{done}*"))


def test_several_are_removed_or_none(here: Path, done: str) -> None:
    assert offload(here, "jobs", "rm", done, "zzz").code == 2
    assert latest(here) == done


def test_what_is_over_cannot_be_cancelled(here: Path, done: str) -> None:
    said = offload(here, "jobs", "cancel", done)
    assert said.code == 2
    assert "done already" in said.err


def test_a_reader_that_has_seen_enough_is_no_traceback(here: Path, done: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    said = subprocess.run(
        [*OFFLOAD, "jobs", "show", done], cwd=here, env=environment(), stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert said.stderr == b""
