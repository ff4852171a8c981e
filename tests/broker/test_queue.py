"""The queue: who is next, by priority, in turns, in order; and as many followers as can run, however many wait."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker import background, followers, settings
from broker.broker import Broker
from broker.job import Job, Request, State
from broker.places import Places
from broker.queue import Head
from broker.targets import Target
from tests.broker.jobs import ledger, let_go, request
from tests.offload.background import Stage, finish, stage, state, tries, until, words
from tests.offload.background import followers as living
from tests.processes import carrying
from tests.services.conftest import data, here
from tests.services.typed import OFFLOAD, offload
from tests.stopping import stop

__all__ = ["data", "here", "stage"]

FAR = 4102444800.0
"""A moment in the year 2100."""


@pytest.fixture(autouse=True)
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "1")


@pytest.fixture
def other(offload_dirs: Path) -> None:
    """Another machine is configured."""
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://127.0.0.1:1"\n')


@pytest.fixture
def opened(one_slot: None) -> Iterator[Broker]:
    with Broker(settings.load()) as broker:
        yield broker


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For whom a process was to be started; none is."""
    names: list[str] = []
    monkeypatch.setattr(background, "spawn", lambda module, log, name, lock: names.append(name))
    return names


def asked(folder: Path, number: int = 0, **about: Any) -> Request:
    """A detached request of its own; `about` are fields of it."""
    return replace(request(folder / f"media-{number}", b"%d" % number), **{"detached": True, **about})


def submitted(broker: Broker, folder: Path, *about: dict[str, Any]) -> list[Job]:
    return [broker.submit(asked(folder, number, **one)) for number, one in enumerate(about)]


def wait_all(broker: Broker, jobs: list[Job]) -> list[str]:
    for job in jobs:
        broker.journal.queue.enter(job.id, "local")
    return broker.journal.queue.waiting("local")


def served(broker: Broker, job: Job) -> None:
    """A job had its turn, and waits no more."""
    own = ledger(broker.journal, job.id)
    own.advance(State.RUNNING)
    own.end_attempt(own.begin_attempt("local", "its turn"), "done", "", {})
    own.advance(State.DONE)


# The order


def test_the_highest_priority_goes_first_then_who_came_first(opened: Broker, tmp_path: Path) -> None:
    jobs = submitted(opened, tmp_path, {}, {"priority": 5}, {"priority": -1}, {"priority": 5}, {})
    assert wait_all(opened, jobs) == [jobs[number].id for number in (1, 3, 0, 4, 2)]


def test_a_session_with_many_jobs_does_not_keep_anothers_only_job_waiting(opened: Broker, tmp_path: Path) -> None:
    jobs = submitted(opened, tmp_path, *[{"session": "many"}] * 4, {"session": "one"})
    assert wait_all(opened, jobs)[0] == jobs[0].id
    served(opened, jobs[0])
    assert opened.journal.queue.waiting("local") == [jobs[number].id for number in (4, 1, 2, 3)]


def test_sessions_take_turns(opened: Broker, tmp_path: Path) -> None:
    jobs = submitted(opened, tmp_path, *[{"session": "a"}] * 3, *[{"session": "b"}] * 3)
    wait_all(opened, jobs)
    order = []
    for _ in jobs:
        first = opened.journal.job(opened.journal.queue.waiting("local")[0])
        order.append(first.session)
        served(opened, first)
    assert order == ["a", "b"] * 3


def test_who_is_served_next_of_those_nobody_drives_goes_by_the_same_order(opened: Broker, tmp_path: Path) -> None:
    jobs = submitted(
        opened,
        tmp_path,
        *[{"session": "a"}] * 3,
        {"session": "b"},
        {"session": "b", "priority": 1},
        {"detached": False},
    )
    heads = opened.journal.queue.heads(())
    assert [(head.id, head.count) for head in heads] == [(jobs[4].id, 1), (jobs[0].id, 3), (jobs[3].id, 1)]
    served(opened, jobs[0])
    assert [head.id for head in opened.journal.queue.heads(())] == [jobs[4].id, jobs[3].id, jobs[1].id]
    left = opened.journal.queue.heads({jobs[4].id, jobs[3].id}, but=jobs[1].id)
    assert [head.id for head in left] == [jobs[2].id]


def test_the_session_with_fewer_under_way_comes_first(opened: Broker, tmp_path: Path) -> None:
    jobs = submitted(opened, tmp_path, *[{"session": "a"}] * 2, {"session": "b"})
    assert opened.journal.queue.heads({jobs[0].id})[0].id == jobs[2].id


def test_a_deadline_is_that_of_the_first_and_late_is_who_has_passed_it(
    other: None, opened: Broker, tmp_path: Path
) -> None:
    waits = {"waits": "remote", "on": "auto"}
    jobs = submitted(
        opened, tmp_path, {**waits, "deadline": FAR}, {**waits, "deadline": FAR - 5}, {**waits, "deadline": 1.0}, waits
    )
    late, ahead = sorted(opened.journal.queue.heads(()), key=lambda head: not head.late)
    assert (late.id, late.late, late.count) == (jobs[2].id, True, 1)
    assert (ahead.id, ahead.count, ahead.deadline) == (jobs[0].id, 3, FAR - 5)


def test_a_clock_set_back_makes_nobody_late_and_one_set_forward_all(
    other: None, opened: Broker, tmp_path: Path
) -> None:
    submitted(opened, tmp_path, {"waits": "remote", "deadline": FAR})
    assert [head.late for head in opened.journal.queue.heads((), now=0.0)] == [False]
    assert [head.late for head in opened.journal.queue.heads((), now=FAR + 1)] == [True]


# How many followers


def test_there_are_as_many_followers_as_can_run_and_one_that_waits(
    opened: Broker, tmp_path: Path, spawned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = submitted(opened, tmp_path, *[{}] * 6)
    held = [opened.take_lease(jobs[0])]
    followers.fill(opened)
    assert spawned == [jobs[1].id, "scheduler"]
    os.close(held[0])


def test_jobs_that_wait_for_one_target_do_not_take_the_followers_of_another(
    opened: Broker, offload_dirs: Path, tmp_path: Path, spawned: list[str]
) -> None:
    (offload_dirs / "config/targets.toml").write_text(
        f'[a]\nurl = "local://{tmp_path}/a"\n[b]\nurl = "local://{tmp_path}/b"\njobs = 2\n'
    )
    with Broker(settings.load()) as broker:
        broker.journal.health.failed(broker.targets["a"], "a: no route")
        jobs = submitted(broker, tmp_path, *[{"on": "a"}] * 4, *[{"on": "b"}] * 5)
        followers.fill(broker)
        assert spawned == [*(job.id for job in jobs[4:7]), "scheduler"]


def test_what_is_under_way_gets_a_follower_however_many_there_are(
    opened: Broker, tmp_path: Path, spawned: list[str]
) -> None:
    jobs = submitted(opened, tmp_path, *[{}] * 4)
    for job in jobs:
        own = ledger(opened.journal, job.id)
        own.advance(State.RUNNING)
        own.begin_attempt("local", "it was free")
    followers.fill(opened)
    assert spawned == [job.id for job in jobs]


@pytest.mark.parametrize(
    ("remark", "others"),
    [("waiting for job 123, which is making the same", 2), ("box is away", 2), ("waiting for local: it is busy", 0)],
)
def test_a_follower_that_waits_for_something_else_than_a_slot_leaves_room_for_others(
    opened: Broker, tmp_path: Path, spawned: list[str], remark: str, others: int
) -> None:
    jobs = submitted(opened, tmp_path, *[{}] * 5)
    held = [opened.take_lease(job) for job in jobs[:2]]
    for job in jobs[:2]:
        ledger(opened.journal, job.id).remark(remark)
    followers.fill(opened)
    assert spawned == [*(job.id for job in jobs[2 : 2 + others]), "scheduler"]
    for lock in held:
        os.close(lock)


def test_one_of_a_higher_priority_is_ahead_only_where_it_may_run_too(opened: Broker, tmp_path: Path) -> None:
    waiting, other, higher = submitted(opened, tmp_path, {}, {"priority": 1, "on": "local"}, {"priority": 1})
    assert opened.journal.queue.ahead(waiting.id, ())
    assert not opened.journal.queue.ahead(waiting.id, {higher.id})
    assert not opened.journal.queue.ahead(other.id, ())


def test_why_a_job_waits_is_told_without_asking_anybody(
    opened: Broker, offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://127.0.0.1:1"\n')
    with Broker(settings.load()) as broker:
        monkeypatch.setattr(Target, "executor", lambda target: pytest.fail("it was asked"))
        places = Places(broker)
        there, anywhere, waits, gone = (
            Head.of(job)
            for job in submitted(
                broker, tmp_path, {"on": "box"}, {}, {"waits": "remote", "deadline": FAR}, {"on": "local"}
            )
        )
        assert places.why(there) == ""  # it may answer: it is tried
        assert places.why(waits).startswith("waiting for box, at most until 2100-01-01 ")
        broker.journal.health.failed(broker.targets["box"], "box: no route")
        assert places.why(there) == "waiting for box (no route)"
        assert places.why(anywhere) == ""
        assert "none is configured" in places.why(replace(gone, on="nowhere"))


# Whole commands


def many(stage: Stage, count: int, *words: str) -> list[str]:
    """So many detached jobs, each with an input of its own."""
    for number in range(count):
        (stage.here / f"{number}.dat").write_bytes(b"%d" % number)
    return [stage.detach("--seconds", "0.05", *words, f"{number}.dat") for number in range(count)]


def spans(jobs: list[str]) -> list[tuple[float, float]]:
    """From when to when each job's attempts ran, in order."""
    with Broker(settings.load()) as broker:
        tried = [attempt for job in jobs for attempt in broker.journal.attempts(job)]
    return sorted((attempt.started, attempt.ended or time.time()) for attempt in tried)


def one_at_a_time(jobs: list[str]) -> bool:
    found = spans(jobs)
    return len(found) >= len(jobs) and all(end <= start for (_, end), (start, _) in pairwise(found))


def found_away(broker: Broker, name: str) -> None:
    """A target has been away so often in a row that nobody asks it again while a test lasts."""
    for _ in range(5):
        broker.journal.health.failed(broker.targets[name], f"{name}: no route")


def schedulers() -> list[psutil.Process]:
    ours = carrying("OFFLOAD_STATE_DIR", str(settings.load().state_dir))
    return [process for process in ours if "broker.scheduler" in " ".join(words(process))]


@pytest.mark.parametrize("count", [12, pytest.param(50, marks=pytest.mark.soak)])
def test_of_many_detached_jobs_few_have_a_follower_at_a_time_and_all_are_done(stage: Stage, count: int) -> None:
    jobs = many(stage, count)
    most = 0

    def done() -> bool:
        nonlocal most
        there = [set(words(process)) for process in living()]
        over = {job for job in jobs if state(job) == "done"}  # looked at afterwards: who is at its end starts the next
        most = max(most, sum(1 for said in there if said and not said & over))
        return len(over) == count

    until(done, "the end of all")
    assert most <= 3
    assert [tries(job) for job in jobs] == [[("local", "done")]] * count
    assert one_at_a_time(jobs)
    until(lambda: not living() and not schedulers(), "that nobody is left")


def test_what_waits_is_queued_and_goes_on_after_the_follower_and_the_scheduler_were_killed(stage: Stage) -> None:
    hold = stage.here / "hold"
    hold.mkdir()
    jobs = many(stage, 5, "--hold", str(hold))
    assert state(jobs[4]) == "queued"
    assert b"waiting for its turn, since" in offload(stage.here, "jobs", "ls").out
    for process in [*living(), *schedulers()]:
        process.kill()
        process.wait()
    (hold / "0").touch()
    assert offload(stage.here, "jobs", "ls").code == 0
    until(lambda: all(state(job) == "done" for job in jobs), "the end of all")
    assert all(tries(job) == [("local", "done")] for job in jobs)


def test_with_no_command_at_all_the_scheduler_replaces_a_killed_follower(stage: Stage) -> None:
    hold = stage.here / "hold"
    hold.mkdir()
    jobs = many(stage, 4, "--hold", str(hold))
    until(lambda: tries(jobs[0]), "an attempt")
    for process in living():
        process.kill()
        process.wait()
    (hold / "0").touch()
    until(lambda: all(state(job) == "done" for job in jobs), "the end of all")


def test_a_follower_that_waits_lets_a_higher_priority_go_first(stage: Stage) -> None:
    hold, other = let_go(stage.here / "hold"), let_go(stage.here / "other")
    jobs = many(stage, 3, "--hold", str(hold))
    until(lambda: tries(jobs[0]), "an attempt")
    (stage.here / "urgent.dat").write_bytes(b"urgent")
    urgent = stage.detach("--hold", str(other), "--seconds", "0", "--priority", "3", "urgent.dat")
    until(lambda: state(urgent) == "waiting", "that it waits in the place of another")
    let_go(hold, 0)
    until(lambda: state(jobs[1]) == "waiting", "that the other waits again")
    let_go(other, 0)
    until(lambda: all(state(job) == "done" for job in [*jobs, urgent]), "the end of all")
    with Broker(settings.load()) as broker:
        started = {job: broker.journal.attempts(job)[0].started for job in [*jobs, urgent]}
    assert sorted(started, key=lambda job: started[job]) == [jobs[0], urgent, *jobs[1:]]


def test_a_follower_that_is_stopped_while_it_waits_does_not_keep_the_others_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_LEASE_SECONDS", "2")
    hold = stage.here / "hold"
    hold.mkdir()
    jobs = many(stage, 4, "--hold", str(hold))
    until(lambda: state(jobs[1]) == "waiting", "one that waits")
    [waiter] = living(jobs[1])
    stop(waiter, settings.load().journal)
    try:
        (hold / "0").touch()
        until(lambda: all(state(job) == "done" for job in jobs), "the end of all")
    finally:
        waiter.send_signal(signal.SIGCONT)
    until(lambda: not living(), "that nobody is left")
    assert [tries(job) for job in jobs] == [[("local", "done")]] * 4


def test_a_scheduler_is_one_however_many_ask_for_it(stage: Stage, offload_dirs: Path) -> None:
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://127.0.0.1:1"\n')
    with Broker(settings.load()) as broker:
        found_away(broker, "box")
        job = broker.submit(asked(stage.here, on="box"))
    commands = [stage.start("ls", command=(*OFFLOAD, "jobs")) for _ in range(4)]
    assert [finish(command).code for command in commands] == [0] * 4
    until(lambda: len(schedulers()) == 1, "one scheduler")
    assert (state(job.id), living()) == ("waiting", [])
    assert offload(stage.here, "jobs", "cancel", job.id).code == 0
    until(lambda: not schedulers(), "that it goes, as nothing waits")
