"""A batch shared among several targets: sooner done, each result once, and nothing lost however they fail."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import Interrupted, JobFailed, Overtaken
from broker.events import Event, Note, Progress, Published, Started
from broker.job import Remains, State
from broker.slots import Slots
from broker.stop import Stop
from executors.base import Lost
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, ledger, let_go, notes, only_job, request, right
from tests.broker.test_attempt import drive_and
from tests.offload.background import until
from tests.processes import of_job

Box = type[FaultyExecutor]
EIGHT = [f"item {number}".encode() for number in range(8)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


def by_target(broker: Broker) -> dict[str, set[int]]:
    """The items whose published outputs each target made."""
    job = only_job(broker)
    made: dict[str, set[int]] = {}
    for attempt in broker.journal.attempts(job.id):
        own = {item.index for item in job.items if any(output.attempt == attempt.number for output in item.outputs)}
        made.setdefault(attempt.target, set()).update(own)
    return made


def halfway(event: Event) -> set[int]:
    return {event.index} if isinstance(event, Progress) and event.fraction >= 0.5 else set()


def nothing_runs(broker: Broker) -> None:
    """Wait until nothing of the only job runs anywhere."""
    remote = [attempt.remote for attempt in broker.journal.attempts(only_job(broker).id)]
    until(lambda: not any(map(of_job, remote)), "the end of all that ran")


def test_targets_share_a_batch_and_each_does_a_part(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold, told = let_go(tmp_path / "hold"), list[Event]()
    asked = request(tmp_path / "media", *EIGHT, spread=True, hold=str(hold))
    seen, published = set[int](), set[int]()

    for event in broker.drive(broker.submit(asked), Stop()):
        told.append(event)
        seen |= halfway(event)
        published |= {event.index} if isinstance(event, Published) else set()
        if seen == {0, 1}:  # both are at it: the first of each
            let_go(hold, 0, 1)
        if published == {0, 1}:
            let_go(hold, *range(8))

    assert right(asked)
    assert {event.target for event in told if isinstance(event, Started)} == {"box", "local"}
    assert "shared among box (4), local (4)" in notes(told)
    made = by_target(broker)
    assert made["box"]
    assert made["local"]
    assert made["box"] | made["local"] == set(range(8))
    assert sorted(event.index for event in told if isinstance(event, Published)) == list(range(8))


def test_both_are_at_work_at_the_same_time(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold")
    asked = request(tmp_path / "media", b"one", b"two", spread=True, hold=str(hold))
    events = broker.drive(broker.submit(asked), Stop())
    seen: set[int] = set()
    for event in events:  # each waits, half-way, for a file that only comes when both are half-way
        seen |= halfway(event)
        if seen == {0, 1}:
            let_go(hold, 0, 1)
    assert right(asked)


def test_without_being_asked_a_batch_stays_together(box: Box, broker: Broker, tmp_path: Path) -> None:
    told = drive(broker, request(tmp_path / "media", *EIGHT))
    assert [event.target for event in told if isinstance(event, Started)] == ["box"]


def test_one_input_is_not_shared(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", spread=True)
    told = drive(broker, asked)
    assert right(asked)
    assert [event.target for event in told if isinstance(event, Started)] == ["box"]


@pytest.mark.parametrize(
    ("fault", "there"),
    [
        (Fault("enter", error=Lost("box: gone")), ()),
        (Fault("run", "events", Lost("box: gone"), skip=2), ()),
        (Fault("get", "out/", Lost("box: gone"), skip=1), (0, 2, 4, 6)),
    ],
    ids=["before", "in the run", "in the download"],
)
def test_what_a_target_that_dies_had_left_is_done_by_another(
    fault: Fault, there: tuple[int, ...], box: Box, broker: Broker, tmp_path: Path
) -> None:
    box.faults.append(fault)
    hold = let_go(tmp_path / "hold", *there)  # all others wait until it is dead
    asked = request(tmp_path / "media", *EIGHT, spread=True, hold=str(hold))

    told = drive_and(broker, broker.submit(asked), Stop(), is_dead, lambda: let_go(hold, *range(8)))

    assert right(asked)
    assert only_job(broker).state is State.DONE
    assert any("box: gone; what it had left goes on elsewhere" in line for line in notes(told))
    assert sorted(event.index for event in told if isinstance(event, Published)) == list(range(8))
    assert "running" not in {attempt.state for attempt in broker.journal.attempts(only_job(broker).id)}


def is_dead(event: Event) -> bool:
    return isinstance(event, Note) and "goes on elsewhere" in event.message


def test_a_straggler_is_run_again_on_the_idle_target_and_told_to_stop(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold", 1, 2, 3)
    asked = request(tmp_path / "media", *EIGHT[:4], spread=True, hold=str(hold), seconds=0.1)
    job = broker.submit(asked)
    waited: set[int] = set()
    for event in broker.drive(job, Stop()):
        if isinstance(event, Published):
            waited.add(event.index)
        attempts = broker.journal.attempts(job.id)
        again = [attempt for attempt in attempts if attempt.items and 0 in attempt.items]
        if len(again) > 1 and isinstance(event, Started):  # now that two are at it, it may go on
            let_go(hold, 0)
    assert right(asked)
    assert waited == {0, 1, 2, 3}
    assert len(again) == 2
    assert {attempt.state for attempt in broker.journal.attempts(job.id)} == {"done"}
    nothing_runs(broker)
    assert {attempt.remains for attempt in broker.journal.attempts(job.id)} == {Remains.NOTHING}


def test_items_fail_alone(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", *EIGHT[:3], b"!failed", *EIGHT[3:], spread=True)
    drive(broker, asked)
    assert only_job(broker).state is State.PARTLY
    assert [item.kind for item in only_job(broker).items].count("failed") == 1


def test_a_script_that_fails_ends_the_job_on_all_targets(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", *EIGHT, spread=True, trouble="exit")
    with pytest.raises(JobFailed):
        drive(broker, asked)
    job = only_job(broker)
    assert job.state is State.FAILED
    nothing_runs(broker)
    assert "running" not in {attempt.state for attempt in broker.journal.attempts(job.id)}


def test_stopping_ends_it_on_all_targets_and_keeps_what_is_done(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold", 0)
    asked = request(tmp_path / "media", *EIGHT, spread=True, hold=str(hold))
    stop, published = Stop(), 0
    with pytest.raises(Interrupted):
        for event in broker.drive(broker.submit(asked), stop):
            published += isinstance(event, Published)
            if published:
                stop.request()
    job = only_job(broker)
    assert job.state is State.CANCELLED
    assert 1 <= sum(item.done for item in job.items) < 8
    nothing_runs(broker)
    assert {attempt.state for attempt in broker.journal.attempts(job.id)} <= {"cancelled", "done"}


def test_a_driver_that_is_killed_leaves_shares_that_the_next_takes_up(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold, seen = let_go(tmp_path / "hold"), set[int]()
    asked = request(tmp_path / "media", *EIGHT, spread=True, hold=str(hold))
    job = broker.submit(asked)
    child = os.fork()
    if child == 0:
        try:
            with Broker(settings.load()) as own:
                for event in own.drive(own.journal.job(job.id), Stop()):
                    seen |= halfway(event)
                    if seen == {0, 1}:  # both are at it
                        let_go(hold, 0)
                    if isinstance(event, Published):
                        os.kill(os.getpid(), 9)
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    let_go(hold, *range(8))
    left = [attempt for attempt in broker.journal.attempts(job.id) if attempt.state == "running"]
    assert {attempt.target for attempt in left} == {"box", "local"}
    told = drive(broker, broker.journal.job(job.id))
    assert right(asked)
    attempts = broker.journal.attempts(job.id)
    begun = {attempt.id for attempt in left}
    assert [attempt.state for attempt in attempts if attempt.id in begun] == ["done", "done"]
    # Who was idle may have been about to take something over that was done just then.
    assert {attempt.state for attempt in attempts} <= {"done", "cancelled"}
    assert [event for event in told if isinstance(event, Started)][:2]
    nothing_runs(broker)


def test_a_driver_that_was_overtaken_publishes_nothing_more(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold", 0)
    asked = request(tmp_path / "media", *EIGHT, spread=True, hold=str(hold))
    job, done = broker.submit(asked), -1
    with Broker(settings.load()) as other, pytest.raises(Overtaken), broker.driving(job, Stop()) as own:
        for event in broker.go_on(own, Stop()):
            if isinstance(event, Published) and done < 0:
                ledger(other.journal, job.id)
                done = sum(item.done for item in other.journal.job(job.id).items)
                let_go(hold, *range(8))
    assert sum(item.done for item in broker.journal.job(job.id).items) == done
    drive(broker, broker.journal.job(job.id))
    assert right(asked)
    nothing_runs(broker)


def test_a_share_that_waits_for_a_busy_target_keeps_nobody_waiting(box: Box, broker: Broker, tmp_path: Path) -> None:
    slots = Slots(broker.settings.state_dir / "slots", 30.0)
    with broker.journal.turn():
        held = slots.take("box", 1, "another job")
    assert held
    with held:
        asked = request(tmp_path / "media", *EIGHT, seconds=0.1, spread=True)
        told = drive(broker, asked)
    assert right(asked)
    assert {event.target for event in told if isinstance(event, Started)} == {"local"}


def test_who_is_not_fit_for_the_job_gets_no_share(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tmp_path / "media", *EIGHT, spread=True)
    before = broker._planner.of
    unfit = lambda job: [replace(one, unfit="its disk is full" * (one.target.name == "box")) for one in before(job)]  # noqa: E731
    monkeypatch.setattr(broker._planner, "of", unfit)
    told = drive(broker, asked)
    assert right(asked)
    assert not [line for line in notes(told) if line.startswith("shared among")]


def test_progress_that_comes_late_does_not_set_a_finished_item_back(broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    drive(broker, job)
    ledger(broker.journal, job.id).note_progress(0, 0.4)
    assert broker.journal.progress(job.id) == [1.0]
