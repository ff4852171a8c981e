"""`--detach`: a job is seen through in the background, whatever becomes of who sees it through."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from broker import settings
from tests import fakework
from tests.offload.background import (
    LONG,
    Stage,
    at_work,
    driver,
    finish,
    follower,
    followers,
    interrupt,
    kill,
    said_so,
    stage,
    state,
    tries,
    until,
)
from tests.services.typed import OFFLOAD, offload, type_

__all__ = ["stage"]

SHORT = ("--seconds", "1.5")


def test_a_detached_job_is_done_in_the_background(stage: Stage) -> None:
    said = stage.work("--detach", *stage.held, "a.dat")
    assert said.code == 0
    [job] = said.lines
    assert f"jobs attach {job}" in said.err
    process = follower(job)
    assert os.getsid(process.pid) == process.pid
    assert Path(f"/proc/{process.pid}/fd/0").readlink() == Path(os.devnull)
    assert state(job) == "detached"
    stage.go_on()
    until(lambda: state(job) == "done", "the job's end")
    assert (stage.here / "a.worked.bin").read_bytes() == fakework.expected(b"some work")
    until(lambda: not followers(job), "the follower's end")
    assert not list((settings.load().state_dir / "followers").iterdir())


def test_detached_is_one_document_too(stage: Stage) -> None:
    said = stage.work("--detach", "--json", *SHORT, "a.dat", "no.dat")
    document = said.document
    assert (said.code, document["exit_code"]) == (101, 101)
    assert [entry["input"] for entry in document["planned"]] == [str(stage.here / "a.dat")]
    assert offload(stage.here, "jobs", "attach", document["job"], "-q").code == 0


def test_nothing_to_do_is_no_job(stage: Stage) -> None:
    (stage.here / "a.worked.bin").touch()
    said = stage.work("--detach", "--skip-existing", "a.dat")
    assert (said.code, said.out) == (0, b"")
    assert offload(stage.here, "jobs", "ls", "--json").document == []


def test_typed_again_it_is_the_same_job_with_the_same_follower(stage: Stage) -> None:
    job = stage.detach(*LONG, "a.dat")
    process = follower(job)
    assert stage.detach(*LONG, "a.dat") == job
    assert followers(job) == [process]


def test_typed_many_times_at_once_it_is_one_job_with_one_follower(stage: Stage) -> None:
    said = [finish(command) for command in [stage.start("--detach", *LONG, "a.dat") for _ in range(5)]]
    assert {one.code for one in said} == {0}, said
    [job] = {line for one in said for line in one.lines}
    process = follower(job)
    assert followers(job) == [process]


def test_typed_again_without_detach_it_is_watched(stage: Stage) -> None:
    job = stage.detach(*stage.held, "a.dat")
    command = stage.start(*stage.held, "a.dat")
    assert "interrupted" not in said_so(command, b"watching it")
    stage.go_on()
    said = finish(command)
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])
    assert "interrupted" not in said.err
    assert tries(job) == [("local", "done")]


def test_a_job_begun_in_the_foreground_can_be_detached(stage: Stage) -> None:
    command = stage.start(*stage.held, "a.dat")
    job = stage.latest()
    assert stage.detach(*stage.held, "a.dat") == job
    command.kill()
    command.wait()
    assert b"\tdetached\t" in offload(stage.here, "jobs", "ls").out
    stage.go_on()
    assert offload(stage.here, "jobs", "attach", job, "-q").code == 0
    assert tries(job) == [("local", "done")]


@pytest.mark.parametrize("verb", [("jobs", "ls"), ("jobs", "show"), ("jobs", "logs"), ("stabilize", "no.mp4")])
def test_the_next_command_of_any_kind_replaces_a_killed_follower(stage: Stage, verb: tuple[str, ...]) -> None:
    job = stage.detach(*LONG, "a.dat")
    until(lambda: at_work(job), "the script")
    first = follower(job)
    kill(first)
    until(lambda: state(job) == "interrupted", "that nobody drives it")
    offload(stage.here, *verb, *([job] if verb[-1] in ("show", "logs") else []))
    assert follower(job) != first
    assert tries(job) == [("local", "running")]


def test_a_replaced_follower_takes_the_job_up_where_it_is(stage: Stage) -> None:
    job = stage.detach(*stage.held, "a.dat")
    until(lambda: at_work(job), "the script")
    [script] = at_work(job)
    kill(follower(job))
    assert b"\tdetached\t" in offload(stage.here, "jobs", "ls").out
    assert at_work(job) == [script]
    stage.go_on()
    until(lambda: state(job) == "done", "the job's end")
    assert tries(job) == [("local", "done")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_follower_and_not_the_job(stage: Stage, number: signal.Signals) -> None:
    job = stage.detach(*LONG, "a.dat")
    until(lambda: at_work(job), "the script")
    kill(follower(job), number)
    until(lambda: state(job) == "interrupted", "that nobody drives it")
    assert at_work(job)


def test_a_watcher_takes_over_from_a_killed_follower(stage: Stage) -> None:
    job = stage.detach(*stage.held, "a.dat")
    until(lambda: at_work(job), "the script")
    watcher = stage.watch(job)
    kill(follower(job))
    stage.go_on()
    said = finish(watcher)
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])
    assert "going on with it here" in said.err
    assert not list((settings.load().state_dir / "followers").iterdir())
    assert tries(job) == [("local", "done")]


def test_a_detached_job_that_is_cancelled_is_gone_with_all_its_processes(stage: Stage) -> None:
    job = stage.detach("--family", *LONG, "a.dat")
    until(lambda: len(at_work(job)) == 3, "a script with a child and a grandchild")
    process = follower(job)
    said = offload(stage.here, "jobs", "cancel", job)
    assert (said.code, said.err) == (0, f"job {job} cancelled\n")
    assert at_work(job) == []
    assert state(job) == "cancelled"
    until(lambda: not psutil.pid_exists(process.pid), "the follower's end")


def test_forgetting_a_job_without_a_driver_starts_none(stage: Stage) -> None:
    job = stage.detach("--family", *LONG, "a.dat")
    until(lambda: len(at_work(job)) == 3, "a script with a child and a grandchild")
    kill(follower(job))
    until(lambda: state(job) == "interrupted", "that nobody drives it")
    said = offload(stage.here, "jobs", "rm", job)
    assert (said.code, at_work(job), followers(job)) == (0, [], []), said.err
    assert not list((settings.load().state_dir / "followers").iterdir())


def test_cancelling_a_job_without_a_driver_starts_none(stage: Stage) -> None:
    job = stage.detach("--family", *LONG, "a.dat")
    until(lambda: len(at_work(job)) == 3, "a script with a child and a grandchild")
    kill(follower(job))
    said = offload(stage.here, "jobs", "cancel", job)
    assert (said.code, said.err) == (0, f"job {job} cancelled\n")
    assert (at_work(job), followers(job), state(job)) == ([], [], "cancelled")
    assert not list((settings.load().state_dir / "followers").iterdir())


def test_a_detached_job_that_fails_says_so_to_who_asks(stage: Stage) -> None:
    (stage.here / "a.dat").write_text("!bad_input")
    job = stage.detach("--seconds", "0", "a.dat")
    until(lambda: state(job) == "failed", "the job's end")
    said = offload(stage.here, "jobs", "attach", job)
    assert (said.code, said.out) == (3, b"")
    assert "a.dat: this is no work" in said.err


def test_a_result_that_finds_no_room_waits_and_is_stored_when_there_is_some(stage: Stage) -> None:
    folder = stage.here / "to"
    folder.mkdir()
    job = stage.detach("-o", "to/a.bin", *stage.held, "a.dat")
    folder.rename(stage.here / "away")
    stage.go_on()
    until(lambda: state(job) == "waiting", "that it waits")
    assert "cannot be stored" in offload(stage.here, "jobs", "show", job).out.decode()
    (stage.here / "away").rename(folder)
    until(lambda: state(job) == "done", "the job's end")
    assert (folder / "a.bin").read_bytes() == fakework.expected(b"some work")
    assert tries(job) == [("local", "done")]


def test_it_is_found_by_python_from_a_folder_that_would_confuse_it(stage: Stage) -> None:
    for name in ("json.py", "broker.py", "signal.py"):
        (stage.here / name).write_text("raise SystemExit('the wrong file')")
    job = stage.detach("--seconds", "0", "a.dat")
    until(lambda: state(job) == "done", "the job's end")


def test_help_opens_no_journal(stage: Stage, tmp_path: Path) -> None:
    state_dir = tmp_path / "nothing yet"
    for words in (["jobs", "attach", "--help"], ["jobs", "--help"], ["stabilize", "--help"]):
        assert type_([*OFFLOAD, *words], stage.here, {"OFFLOAD_STATE_DIR": str(state_dir)}).code == 0
    assert not state_dir.exists()


def test_who_drives_is_asked_by_ctrl_c_who_watches_is_not(stage: Stage) -> None:
    job = stage.detach(*LONG, "a.dat")
    until(lambda: at_work(job), "the script")
    before = driver(job)
    said = interrupt(stage.watch(job))
    assert (said.code, said.out) == (130, b"")
    assert f"jobs attach {job}" in said.err
    assert f"jobs cancel {job}" in said.err
    assert "To do the rest" not in said.err
    assert driver(job) == before
    assert at_work(job)
