"""Waiting: commands that wait for their turn, and jobs that wait for another machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker import scheduler, settings, waiting
from broker.broker import Broker
from broker.errors import ConfigError, NoTarget, OutOfReach
from broker.health import Health
from broker.job import Job, State
from broker.targets import Target
from executors.base import Probe
from tests.broker.jobs import ledger, request
from tests.broker.test_queue import found_away, schedulers
from tests.executors.sshd import Server, needs_sshd, sshd
from tests.offload.background import Stage, at_work, finish, followers, interrupt, said_so, stage, state, tries, until
from tests.services.conftest import data, here
from tests.services.typed import offload
from tests.stopping import stop

__all__ = ["data", "here", "stage"]

DEAD = '[box]\nurl = "ssh://127.0.0.1:1"\n'


@pytest.fixture(autouse=True)
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "1")


@pytest.fixture
def hold(here: Path) -> Path:
    """A folder: a job that holds on to it goes on once there is a file `0` in it."""
    folder = here / "hold"
    folder.mkdir()
    return folder


@pytest.fixture
def box(offload_dirs: Path) -> None:
    """A target that is dead, and known to be."""
    (offload_dirs / "config/targets.toml").write_text(DEAD)
    with Broker(settings.load()) as broker:
        found_away(broker, "box")


def inputs(stage: Stage, *names: str) -> None:
    for name in names:
        (stage.here / name).write_bytes(name.encode())


def busy(stage: Stage, hold: Path) -> str:
    """A command that has the one slot, until it is let go; returns its job."""
    stage.start("--hold", str(hold), "--seconds", "0", "a.dat")
    job = stage.latest()
    until(lambda: tries(job), "an attempt")
    return job


def started(jobs: list[str]) -> list[str]:
    """Jobs in the order in which they began."""
    with Broker(settings.load()) as broker:
        first = {job: broker.journal.attempts(job)[0].started for job in jobs}
    return sorted(jobs, key=lambda job: first[job])


def job_of(name: str) -> str:
    """The job of an input, once there is one."""

    def found() -> list[str]:
        with Broker(settings.load()) as broker:
            return [job.id for job in broker.journal.jobs() if job.items[0].source.name == name]

    until(found, f"a job for {name}")
    return found()[0]


# Commands that stay


def test_two_commands_never_run_at_the_same_time_and_the_second_says_what_it_waits_for(
    stage: Stage, hold: Path
) -> None:
    first = busy(stage, hold)
    inputs(stage, "b.dat")
    second = stage.start("--seconds", "0", "b.dat")
    said_so(second, f"waiting for local: job {first} (fake a.dat) is running there".encode())
    job = job_of("b.dat")
    assert (state(job), tries(job), at_work(job)) == ("waiting", [], [])
    listed, shown = (offload(stage.here, "jobs", *words, "--json").document for words in (["ls"], ["show", job]))
    assert shown["why"] == listed[0]["why"]
    assert "waiting for " in shown["why"]
    (hold / "0").touch()
    assert finish(second).code == 0
    with Broker(settings.load()) as broker:
        (one,), (two,) = broker.journal.attempts(first), broker.journal.attempts(job)
    assert one.ended is not None
    assert one.ended <= two.started


def test_who_waits_is_told_how_many_come_before(stage: Stage, hold: Path) -> None:
    busy(stage, hold)
    inputs(stage, "b.dat", "c.dat")
    second = stage.start("--seconds", "0", "b.dat")
    said_so(second, b"waiting for local")
    third = stage.start("--seconds", "0", "c.dat")
    said_so(third, b"; 1 before this one")
    (hold / "0").touch()
    assert [finish(command).code for command in (second, third)] == [0, 0]
    assert started([job_of("c.dat"), job_of("b.dat")]) == [job_of("b.dat"), job_of("c.dat")]


def test_ctrl_c_ends_the_waiting_at_once_and_says_how_to_go_on(stage: Stage, hold: Path) -> None:
    busy(stage, hold)
    inputs(stage, "b.dat")
    second = stage.start("--seconds", "0", "b.dat")
    said_so(second, b"waiting for local")
    said = interrupt(second)
    job = job_of("b.dat")
    assert (said.code, state(job), tries(job)) == (130, "cancelled", [])
    assert "To do the rest" in said.err
    with Broker(settings.load()) as broker:
        assert broker.journal.queue.waiting("local") == []


def test_a_job_that_waits_can_be_cancelled_from_elsewhere(stage: Stage, hold: Path) -> None:
    busy(stage, hold)
    inputs(stage, "b.dat")
    second = stage.start("--seconds", "0", "b.dat")
    said_so(second, b"waiting for local")
    job = job_of("b.dat")
    assert offload(stage.here, "jobs", "cancel", job).err == f"job {job} cancelled\n"
    assert (finish(second).code, tries(job)) == (130, [])


def test_the_higher_priority_runs_first(stage: Stage, hold: Path) -> None:
    busy(stage, hold)
    inputs(stage, "b.dat", "c.dat")
    low = stage.start("--seconds", "0", "b.dat")
    said_so(low, b"waiting for local")
    high = stage.start("--seconds", "0", "--priority", "1", "c.dat")
    said_so(high, b"waiting for local")
    (hold / "0").touch()
    assert [finish(command).code for command in (low, high)] == [0, 0]
    assert started([job_of("b.dat"), job_of("c.dat")]) == [job_of("c.dat"), job_of("b.dat")]


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_who_is_stopped_or_dead_keeps_nobody_waiting(stage: Stage, hold: Path, number: signal.Signals) -> None:
    busy(stage, hold)
    inputs(stage, "b.dat", "c.dat")
    first = stage.start("--seconds", "0", "b.dat")
    said_so(first, b"waiting for local")
    second = stage.start("--seconds", "0", "c.dat")
    said_so(second, b"; 1 before this one")
    if number is signal.SIGSTOP:
        stop(first, settings.load().journal)
    else:
        first.kill()
    (hold / "0").touch()
    assert finish(second).code == 0
    first.send_signal(signal.SIGCONT)
    assert finish(first).code == (0 if number is signal.SIGSTOP else -signal.SIGKILL)


def test_a_command_that_is_killed_frees_its_slot(stage: Stage, hold: Path) -> None:
    first = stage.start("--hold", str(hold), "--seconds", "0", "a.dat")
    until(lambda: tries(stage.latest()), "an attempt")
    inputs(stage, "b.dat")
    second = stage.start("--seconds", "0", "b.dat")
    said_so(second, b"waiting for local")
    first.kill()
    assert finish(second).code == 0
    (hold / "0").touch()


def test_what_runs_already_is_taken_up_without_waiting(stage: Stage, hold: Path) -> None:
    first = stage.start("--hold", str(hold), "--seconds", "0", "a.dat")
    job = stage.latest()
    until(lambda: at_work(job), "its script")
    first.kill()
    first.wait()
    other = stage.here / "other"
    other.mkdir()
    inputs(stage, "b.dat")
    stage.start("--hold", str(other), "--seconds", "0", "b.dat")
    until(lambda: at_work(job_of("b.dat")), "another job in the slot")
    (hold / "0").touch()
    said = finish(stage.start("--hold", str(hold), "--seconds", "0", "a.dat"))
    assert (said.code, tries(job)) == (0, [("local", "done")])
    (other / "0").touch()


# Jobs that wait for another machine


def test_waiting_for_another_machine_prints_the_id_and_nothing_runs_here(stage: Stage, box: None) -> None:
    said = stage.work("--when", "remote", "--seconds", "0", "a.dat")
    assert said.code == 0, said.err
    [job] = said.lines
    assert "waiting for box (no route), in the background" in said.err
    listed = offload(stage.here, "jobs", "ls").out.decode()
    assert f"{job}\twaiting\tfake" in listed
    assert "waiting for box (no route), since 20" in listed
    assert (tries(job), followers()) == ([], [])


@pytest.mark.parametrize(
    ("there", "rule", "words", "told"),
    [
        ("", "", (), "none is configured"),
        (DEAD, "", ("--offline",), "none is asked while offline"),
        (DEAD, 'on = "local"', (), "but rule 1 in "),
        (DEAD + '[den]\nurl = "ssh://127.0.0.1:1"\n', 'only = ["den", "local"]', ("--on", "box,local"), "rule 1 in "),
    ],
    ids=["none", "offline", "a rule", "a rule about the one that is named"],
)
def test_what_no_other_machine_can_ever_have_is_refused_at_once(
    there: str, rule: str, words: tuple[str, ...], told: str, stage: Stage, offload_dirs: Path
) -> None:
    (offload_dirs / "config/targets.toml").write_text(there)
    (offload_dirs / "config/config.toml").write_text(f'[[rules]]\nservice = "fake"\n{rule}\n' if rule else "")
    for more in ((), ("--dry-run",)):
        said = stage.work("--when", "remote", "--seconds", "0", *words, *more, "a.dat")
        assert (said.code, said.out) == (2, b"")
        assert told in said.err
    with Broker(settings.load()) as broker:
        assert broker.journal.jobs() == []


def test_a_deadline_that_passes_brings_the_job_here(stage: Stage, box: None) -> None:
    said = stage.work("--when", "remote", "--deadline", "2s", "--seconds", "0", "a.dat")
    [job] = said.lines
    until(lambda: state(job) == "done", "the job's end")
    assert tries(job) == [("local", "done")]


def test_a_deadline_that_passes_ends_a_job_that_may_not_run_here_with_5(stage: Stage, box: None) -> None:
    said = stage.work("--when", "remote", "--deadline", "2s", "--on", "box", "--seconds", "0", "a.dat")
    [job] = said.lines
    until(lambda: state(job) == "failed", "the job's end")
    told = offload(stage.here, "jobs", "attach", job)
    assert told.code == 5
    assert "until its deadline" in offload(stage.here, "jobs", "show", job).out.decode()
    assert tries(job) == []


@pytest.mark.parametrize(("on", "ends"), [("auto", ("done", [("local", "done")])), ("other", ("failed", []))])
def test_a_deadline_is_kept_while_the_other_machine_is_busy(
    stage: Stage, hold: Path, offload_dirs: Path, tmp_path: Path, on: str, ends: tuple[str, list[tuple[str, str]]]
) -> None:
    (offload_dirs / "config/targets.toml").write_text(f'[other]\nurl = "local://{tmp_path}/other"\n')
    stage.start("--on", "other", "--hold", str(hold), "--seconds", "0", "a.dat")
    first = stage.latest()
    inputs(stage, "b.dat")
    [job] = stage.work("--when", "remote", "--deadline", "3s", "--on", on, "--seconds", "0", "b.dat").lines
    until(lambda: state(job) == ends[0], "the job's end")
    assert (tries(job), state(first)) == (ends[1], "running")
    (hold / "0").touch()


def test_a_deadline_is_kept_while_all_that_would_share_a_job_are_busy(
    stage: Stage, hold: Path, offload_dirs: Path, tmp_path: Path
) -> None:
    names = ("one", "other")
    lines = [f'[{name}]\nurl = "local://{tmp_path}/{name}"\n' for name in names]
    (offload_dirs / "config/targets.toml").write_text("".join(lines))
    for name in names:
        inputs(stage, f"{name}.dat")
        stage.start("--on", name, "--hold", str(hold), "--seconds", "0", f"{name}.dat")
        until(lambda name=name: tries(job_of(f"{name}.dat")), "an attempt")
    inputs(stage, "b.dat", "c.dat")
    words = ("--when", "remote", "--deadline", "3s", "--spread", "--seconds", "0", "--detach", "b.dat", "c.dat")
    [job] = stage.work(*words).lines
    until(lambda: state(job) == "done", "the job's end")
    assert {target for target, _ in tries(job)} == {"local"}
    (hold / "0").touch()


@pytest.mark.parametrize(
    "words", [("--deadline", "2h"), ("--when", "remote", "--on", "local")], ids=["a deadline alone", "only here"]
)
def test_what_makes_no_sense_is_a_usage_error(stage: Stage, words: tuple[str, ...]) -> None:
    said = stage.work(*words, "a.dat")
    assert (said.code, said.out) == (2, b"")
    assert "--when remote" in said.err


def test_typed_again_without_waiting_it_runs_here_and_is_the_same_job(stage: Stage, box: None) -> None:
    [job] = stage.work("--when", "remote", "--seconds", "0", "a.dat").lines
    said = stage.work("--seconds", "0", "a.dat")
    assert said.code == 0, said.err
    assert tries(job) == [("local", "done")]


def test_typed_again_with_other_flags_it_says_which_it_keeps(stage: Stage, box: None) -> None:
    waits = ("--when", "remote", "--seconds", "0")
    [job] = stage.work(*waits, "a.dat").lines
    said = stage.work(*waits, "--no-cache", "--spread", "a.dat")
    for flag in ("--no-cache", "--spread"):
        assert f"it goes on without {flag}, as it was begun; to have it otherwise: " in said.err
    assert f"offload jobs cancel {job}, and type this again" in said.err
    assert "as it was begun" not in stage.work(*waits, "a.dat").err
    offload(stage.here, "jobs", "cancel", job)
    [job] = stage.work(*waits, "--spread", "a.dat").lines
    assert "it goes on with --spread" in stage.work(*waits, "a.dat").err


@needs_sshd
def test_a_job_that_waits_starts_by_itself_when_the_machine_is_there(
    stage: Stage, offload_dirs: Path, tmp_path: Path
) -> None:
    with sshd(tmp_path, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}") as server:
        _configure(offload_dirs, server)
        server.kill()
        jobs = []
        for number in range(3):
            inputs(stage, f"{number}.dat")
            jobs += stage.work("--when", "remote", "--seconds", "0", f"{number}.dat").lines
        until(lambda: "cannot be reached" in scheduler.log_path(settings.load()).read_text(), "that it was asked")
        assert {state(job) for job in jobs} == {"waiting"}
        server.start()
        _the_pause_is_over()
        until(lambda: all(state(job) == "done" for job in jobs), "the end of all")
    assert [tries(job) for job in jobs] == [[("box", "done")]] * 3


def _configure(dirs: Path, server: Server) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in server.options().items()]
    (dirs / "config/targets.toml").write_text("\n".join(["[box]", *lines]))


def _the_pause_is_over() -> None:
    """Nobody types `offload targets test`: the breaker's own time passes."""
    with Broker(settings.load()) as broker:
        Health(broker.journal._db, clock=lambda: time.time() - 1000).failed(broker.targets["box"], "box: away")


def waits(broker: Broker, folder: Path, **about: Any) -> Job:
    return broker.submit(replace(request(folder / "media", b"x"), detached=True, waits="remote", **about))


def test_this_machine_is_no_candidate_until_the_deadline(box: None, tmp_path: Path) -> None:
    with Broker(settings.load()) as broker:
        job = waits(broker, tmp_path)
        own, plan = ledger(broker.journal, job.id), broker.plan("auto", 0)
        assert [candidate.target.name for candidate in plan] == ["box", "local"]
        with pytest.raises(OutOfReach, match="no route"):
            waiting.admitted(own, plan)
        broker.journal.queue.change(job.id, "remote", time.time() - 1, 0)
        assert waiting.admitted(own, plan) == plan[::-1]
        with pytest.raises(NoTarget, match="until its deadline"):
            waiting.admitted(own, plan[:1])
        assert (own.job.state, broker.journal.ending(job.id).exit_code) == (State.FAILED, 5)


def test_a_job_that_has_begun_has_met_its_deadline(box: None, tmp_path: Path) -> None:
    with Broker(settings.load()) as broker:
        own = ledger(broker.journal, waits(broker, tmp_path, deadline=1.0).id)
        own.advance(State.RUNNING)
        own.begin_attempt("box", "it answered")
        assert [one.target.name for one in waiting.admitted(own, broker.plan("box", 0))] == ["box"]


class Clock(SimpleNamespace):
    """A clock that jumps: `wall` is the time of day, `ticks` what a machine that sleeps does not count."""

    def time(self) -> float:
        return float(self.wall)

    def monotonic(self) -> float:
        return float(self.ticks)


def test_a_clock_that_jumps_makes_the_scheduler_neither_hurry_nor_sleep_for_ever(
    box: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, mine = Clock(wall=time.time(), ticks=100.0), scheduler.Scheduler()
    monkeypatch.setattr(scheduler, "time", clock)
    monkeypatch.setattr("broker.followers.fill", lambda broker: None)
    with Broker(settings.load()) as broker:
        waits(broker, tmp_path, deadline=clock.wall + 3600)
        for jump in (0.0, 10.0**8, -(10.0**8), 3600.0):
            clock.wall += jump
            list(mine.round(broker))
            assert scheduler.TICK_SECONDS <= mine.rest(broker) <= scheduler.LONGEST_SECONDS


def test_a_target_that_is_away_is_asked_with_growing_pauses_however_many_wait(
    offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (offload_dirs / "config/targets.toml").write_text(DEAD)
    clock, mine, said = Clock(wall=0.0, ticks=0.0), scheduler.Scheduler(), list[str]()
    asked: list[float] = []
    monkeypatch.setattr(scheduler, "time", clock)
    monkeypatch.setattr("broker.followers.fill", lambda broker: None)
    with Broker(settings.load()) as broker:
        for number in range(3):
            (tmp_path / str(number)).mkdir()
            waits(broker, tmp_path / str(number))
        health, really = broker.journal.health, broker.journal.health.ask

        def ask(target: Target) -> Probe:
            asked.append(clock.ticks)
            return really(target)

        monkeypatch.setattr(health, "probe", ask)
        while clock.ticks < 3 * 3600:
            said += mine.round(broker)
            clock.ticks += mine.rest(broker)
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert len(asked) < 40
    assert len(said) == 1


def test_a_target_that_was_mended_is_asked_at_once(
    offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, mine, asked = offload_dirs / "config/targets.toml", scheduler.Scheduler(), list[str]()
    monkeypatch.setattr("broker.followers.fill", lambda broker: None)
    monkeypatch.setattr(Health, "probe", lambda self, target: asked.append(target.options["url"]) or Probe(False))
    for port in (1, 1, 2):
        file.write_text(f'[other]\nurl = "ssh://127.0.0.1:{port}"\n')
        with Broker(settings.load()) as broker:
            if not broker.journal.jobs():
                waits(broker, tmp_path)
            list(mine.round(broker))
    assert asked == ["ssh://127.0.0.1:1", "ssh://127.0.0.1:2"]


@pytest.mark.parametrize("name", ["targets.toml", "config.toml"])
def test_what_is_configured_anew_ends_the_schedulers_sleep(
    name: str, offload_dirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, file = Clock(wall=0.0, ticks=0.0), offload_dirs / "config" / name

    def sleep(seconds: float) -> None:
        clock.ticks += seconds
        if clock.ticks == 3 * scheduler.TICK_SECONDS:
            file.write_text("")

    clock.sleep = sleep
    monkeypatch.setattr(scheduler, "time", clock)
    with Broker(settings.load()) as broker:
        scheduler._sleep(broker, 20.0)
        assert clock.ticks == 3 * scheduler.TICK_SECONDS
        scheduler._sleep(broker, 20.0)
        assert clock.ticks == pytest.approx(23.0, abs=scheduler.TICK_SECONDS)


def test_a_file_that_is_being_written_does_not_end_the_scheduler(
    offload_dirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, file = Clock(wall=0.0, ticks=0.0), offload_dirs / "config/targets.toml"
    file.write_text("[half")
    clock.sleep = lambda seconds: file.write_text("")
    monkeypatch.setattr(scheduler, "time", clock)
    with scheduler._opened() as broker:
        assert list(broker.targets) == ["local"]
    file.write_text("[half")
    clock.sleep = lambda seconds: None
    with pytest.raises(ConfigError):
        scheduler._opened()


PREFER_HERE = '[[rules]]\nservice = "fake"\nprefer = ["local"]\n'


def test_a_job_that_failed_here_waits_for_a_machine_that_is_away_and_is_not_tried_here_again(
    stage: Stage, box: None, offload_dirs: Path
) -> None:
    (offload_dirs / "config/config.toml").write_text(PREFER_HERE)
    job = stage.detach("--trouble", "memory on local", "--seconds", "0", "a.dat")
    until(lambda: tries(job) and not followers(), "that its follower leaves it")
    listed = offload(stage.here, "jobs", "ls").out.decode()  # which starts what may be started
    assert "waiting for box (no route)" in listed
    assert (tries(job), followers()) == ([("local", "lost")], [])


def test_a_target_that_fails_a_job_is_left_alone_for_longer_each_time(
    stage: Stage, offload_dirs: Path, tmp_path: Path
) -> None:
    (offload_dirs / "config/targets.toml").write_text(f'{DEAD}\n[other]\nurl = "local://{tmp_path}/other"\n')
    job = stage.detach("--on", "other,box", "--trouble", "memory on other", "--seconds", "0", "a.dat")
    until(lambda: len(tries(job)) > 2, "a third attempt")
    log = (settings.load().state_dir / "followers" / f"{job}.log").read_text()
    assert log.count("; waiting") >= 2  # by the same follower: another would not know how often it was
    with Broker(settings.load()) as broker:
        begun = [attempt.started for attempt in broker.journal.attempts(job)]
    assert begun[2] - begun[0] > 1.5


def test_nobody_is_left_when_nothing_waits(stage: Stage, box: None) -> None:
    [job] = stage.work("--when", "remote", "--seconds", "0", "a.dat").lines
    until(schedulers, "a scheduler")
    assert offload(stage.here, "jobs", "rm", job).code == 0
    until(lambda: not schedulers(), "its end")


def test_jobs_are_listed_by_state_and_service(stage: Stage, box: None) -> None:
    [job] = stage.work("--when", "remote", "--seconds", "0", "a.dat").lines
    inputs(stage, "b.dat")
    assert stage.work("--seconds", "0", "b.dat").code == 0

    def listed(*words: str) -> list[str]:
        return [row["job"] for row in offload(stage.here, "jobs", "ls", "--json", *words).document]

    assert listed("--state", "open") == listed("--state", "queued") == [job]
    assert listed("--state", "done", "--service", "fake") == [job_of("b.dat")]
    assert listed("--service", "stabilize") == []


def test_none_is_there_for_a_command_that_waits_for_nothing(stage: Stage) -> None:
    assert stage.work("--seconds", "0", "a.dat").code == 0
    folder = settings.load().state_dir
    assert not (folder / "scheduler").exists()
    assert sorted(path.name for path in (folder / "slots").iterdir()) == ["local.0"]
    with Broker(settings.load()) as broker:
        assert broker.journal.queue.waiting("local") == []
        assert broker.journal.queue.heads(()) == []


def test_attaching_to_what_waits_in_the_background_watches_it_and_ctrl_c_leaves_it_there(
    stage: Stage, box: None
) -> None:
    [job] = stage.work("--when", "remote", "--seconds", "0", "a.dat").lines
    watcher = stage.attach(job)
    said_so(watcher, b"waits in the background for another machine than this one; watching it")
    said = interrupt(watcher)
    assert said.code == 130
    assert f"jobs attach {job}" in said.err
    assert state(job) == "waiting"
    assert "waiting for box (no route), since 20" in offload(stage.here, "jobs", "show", job).out.decode()


def test_who_watches_what_waits_sees_it_to_its_end(stage: Stage, hold: Path) -> None:
    busy(stage, hold)
    inputs(stage, "b.dat", "c.dat", "d.dat")
    for name in ("b.dat", "c.dat"):
        stage.detach("--seconds", "0", name)
    job = stage.detach("--seconds", "0", "d.dat")
    watcher = stage.watch(job)
    assert state(job) == "queued"
    (hold / "0").touch()
    said = finish(watcher)
    assert (said.code, said.lines) == (0, [str(stage.here / "d.worked.bin")])
