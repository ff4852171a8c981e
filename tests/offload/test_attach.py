"""`offload jobs attach`: a job goes on, or is watched, as if it had been typed here."""

from __future__ import annotations

import signal

import pytest

from tests.offload.background import (
    LONG,
    Stage,
    at_work,
    driver,
    finish,
    interrupt,
    orphan,
    said_so,
    stage,
    state,
    tries,
    until,
)
from tests.services.typed import Said, Word, fake, offload

__all__ = ["stage"]


def begun(stage: Stage, *words: Word) -> str:
    """A job of the foreground that is at work and that nobody drives."""
    command = stage.start(*(words or stage.held), "a.dat")
    job = stage.latest()
    command.kill()
    command.wait()
    return job


def attach(stage: Stage, job: str, *words: str) -> Said:
    return offload(stage.here, "jobs", "attach", job, *words)


def test_a_job_that_nobody_drives_is_driven_from_here(stage: Stage) -> None:
    job = begun(stage)
    command = stage.attach(job[:6])
    assert "watching" not in said_so(command, b"running on local")
    stage.go_on()
    said = finish(command)
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])
    assert "watching" not in said.err
    assert tries(job) == [("local", "done")]


def test_a_driven_one_is_watched_to_its_end(stage: Stage) -> None:
    job = stage.detach(*stage.held, "a.dat")
    command = stage.attach(job, "--json")
    assert "watching it" in said_so(command, b"running on local")
    stage.go_on()
    said = finish(command)
    assert said.code == 0
    assert (said.document["state"], said.document["exit_code"]) == ("done", 0)
    assert "a.dat -> a.worked.bin" in said.err


def test_quiet_is_quiet(stage: Stage) -> None:
    job = stage.detach("--seconds", "1", "a.dat")
    said = attach(stage, job, "-q", "-0")
    assert (said.code, said.err, said.out) == (0, "", bytes(stage.here / "a.worked.bin") + b"\0")


def test_what_is_over_is_told_at_once(stage: Stage) -> None:
    (stage.here / "b.dat").write_text("!failed")
    assert fake(stage.here, "a.dat", "b.dat").code == 101
    said = attach(stage, offload(stage.here, "jobs", "ls", "--json").document[0]["job"])
    assert (said.code, said.lines) == (101, [str(stage.here / "a.worked.bin")])
    assert "b.dat: it does not work" in said.err
    assert "jobs logs" in said.err


def test_what_failed_ends_as_it_did_where_it_was_driven(stage: Stage) -> None:
    assert fake(stage.here, "a.dat", "--trouble", "exit").code == 6
    said = attach(stage, offload(stage.here, "jobs", "ls", "--json").document[0]["job"], "--json")
    assert (said.code, said.document["exit_code"], said.document["state"]) == (6, 6, "failed")
    assert "status 3" in said.document["error"]


def test_ctrl_c_ends_a_job_that_is_driven_from_here(stage: Stage) -> None:
    job = begun(stage, "--family", *LONG)
    command = stage.attach(job)
    said_so(command, b"running on local")
    said = interrupt(command)
    assert (said.code, state(job), at_work(job)) == (130, "cancelled", [])
    assert f"jobs retry {job}" in said.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_any_polite_signal_only_ends_the_watching(stage: Stage, number: signal.Signals) -> None:
    job = stage.detach(*LONG, "a.dat")
    until(lambda: at_work(job), "the job at work")
    watcher = stage.watch(job, "--json")
    watcher.send_signal(number)
    said = finish(watcher)
    assert (said.code, said.document["exit_code"], said.document["state"]) == (130, 130, "running")
    assert (state(job), "goes on" in said.err) == ("detached", True)


def test_two_that_attach_at_once_drive_it_once(stage: Stage) -> None:
    job = begun(stage)
    commands = [stage.attach(job), stage.attach(job), stage.attach(job)]
    heard = [said_so(command, b"running on local") for command in commands]
    assert sorted("watching it" in one for one in heard) == [False, True, True]
    stage.go_on()
    said = [finish(command) for command in commands]
    assert [(one.code, one.lines) for one in said] == [(0, [str(stage.here / "a.worked.bin")])] * 3
    assert not any("watching it" in one.err for one in said)
    assert tries(job) == [("local", "done")]


def test_when_the_driver_among_two_dies_the_other_goes_on(stage: Stage) -> None:
    job = begun(stage)
    commands = {command.pid: command for command in (stage.attach(job), stage.attach(job))}
    until(lambda: driver(job).pid in commands, "one of them to drive it")
    commands.pop(driver(job).pid).kill()
    [other] = commands.values()
    stage.go_on()
    said = finish(other)
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])
    assert tries(job) == [("local", "done")]


def test_who_watches_hears_that_it_was_cancelled(stage: Stage) -> None:
    command = stage.start(*LONG, "a.dat")
    job = stage.latest()
    watcher = stage.watch(job)
    assert offload(stage.here, "jobs", "cancel", job).err == f"job {job} cancelled\n"
    assert (finish(watcher).code, finish(command).code) == (130, 130)


def test_the_command_that_is_shown_goes_on_from_anywhere(stage: Stage) -> None:
    job = begun(stage)
    shown = offload(stage.here, "jobs", "show", job).out.decode()
    assert f"cd {stage.here} && " in shown
    assert f"jobs attach {job}" in shown
    stage.go_on()
    said = offload(stage.here.parent, "jobs", "attach", job)
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])


def test_a_job_that_lost_its_follower_is_still_detached(stage: Stage) -> None:
    job = stage.detach(*LONG, "a.dat")
    until(lambda: at_work(job), "the script")
    orphan(job)
    said = interrupt(stage.watch(job))
    assert (said.code, state(job)) == (130, "detached")
