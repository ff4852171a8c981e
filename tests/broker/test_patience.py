"""What is only quiet is waited for, what is lost is not; clocks may jump and laptops sleep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import Interrupted, OutOfReach
from broker.events import Event, Note, Progress, Started
from broker.job import Remains, State
from broker.policy import HEALTHY_SECONDS, LONGEST_PAUSE, Patience, may_be_back
from broker.stop import Stop
from executors.base import Gone, Lost, NoSpace, Refused, TransferFailed, Unreachable
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, let_go, notes, only_job, request, right

Box = type[FaultyExecutor]


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pauses(patience: Patience, clock: Clock) -> Iterator[float]:
    while (pause := patience.pause()) is not None:
        yield pause
        clock.now += pause


def test_patience_lasts_as_long_as_it_should_with_growing_pauses() -> None:
    clock = Clock()
    waited = list(pauses(Patience(90, clock), clock))
    assert sum(waited) == pytest.approx(90)
    assert waited[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(waited) == LONGEST_PAUSE


def test_news_renew_patience_and_an_answer_alone_does_not() -> None:
    clock = Clock()
    patience = Patience(90, clock)
    patience.pause()
    clock.now += 80
    patience.back()
    patience.heard(news=False)
    assert sum(pauses(patience, clock)) == pytest.approx(10)
    patience.heard(news=True)
    assert sum(pauses(patience, clock)) == pytest.approx(90)


def test_a_target_that_was_well_for_a_while_is_as_good_as_new() -> None:
    clock = Clock()
    patience = Patience(90, clock)
    patience.pause()
    clock.now += 80
    patience.back()
    clock.now += HEALTHY_SECONDS + 1
    patience.heard(news=False)
    assert sum(pauses(patience, clock)) == pytest.approx(90)


@pytest.mark.parametrize("error", [Lost, Unreachable])
def test_what_may_be_back(error: type[Exception]) -> None:
    assert may_be_back(error("box"))


@pytest.mark.parametrize("error", [Gone, Refused, NoSpace, TransferFailed])
def test_what_will_not_be_back_by_waiting(error: type[Exception]) -> None:
    assert not may_be_back(error("box"))


def test_a_target_never_reached_is_not_waited_for(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "60")
    box.faults.append(Fault("enter", error=Unreachable("box: connection refused")))
    asked = request(tmp_path / "media", b"one")
    with Broker(settings.load()) as patient:
        told = drive(patient, asked)
    assert right(asked)
    assert not [line for line in notes(told) if "waiting" in line]


def test_a_link_that_breaks_again_and_again_moves_no_job_while_it_gets_on(
    box: Box, broker: Broker, tmp_path: Path
) -> None:
    hold, broken = let_go(tmp_path / "hold"), list[int]()
    asked = request(tmp_path / "media", *[b"%d" % number for number in range(6)], hold=str(hold))
    for event in broker.drive(broker.submit(asked), Stop()):
        if isinstance(event, Progress) and event.index not in broken:
            broken.append(event.index)
            box.faults.append(Fault("run", "events", Lost("box: hiccup"), times=1))
        elif isinstance(event, Note):
            assert event.message == "box: hiccup; waiting for it"
            let_go(hold, broken[-1])
    assert right(asked)
    assert broken == list(range(6))
    assert [attempt.target for attempt in broker.journal.attempts(only_job(broker).id)] == ["box"]


def test_ctrl_c_while_the_target_is_silent_ends_at_once_and_notes_the_orphan(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "60")
    box.faults.append(Fault("run", "events", Lost("box: gone"), skip=1))
    stop, hold = Stop(), let_go(tmp_path / "hold")
    with Broker(settings.load()) as patient:
        driven = patient.drive(patient.submit(request(tmp_path / "media", b"one", hold=str(hold))), stop)
        with pytest.raises(Interrupted, match="could not be reached"):
            for event in driven:
                if "waiting for it" in str(event):
                    stop.request()
        (attempt,) = patient.journal.attempts(only_job(patient).id)
        assert (attempt.state, attempt.remains) == ("cancelled", Remains.ORPHAN)
        assert only_job(patient).state is State.CANCELLED
    let_go(hold, 0)
    with Broker(settings.load()) as later:
        assert ["`offload targets clean box`" in line for line in later.notices] == [True]


def test_a_job_whose_only_target_is_silent_stays_open_and_is_taken_up_when_it_is_back(
    box: Box, broker: Broker, tmp_path: Path
) -> None:
    box.faults.append(Fault("run", "events", Lost("box: gone"), skip=1))
    hold = let_go(tmp_path / "hold")
    asked = request(tmp_path / "media", b"one", hold=str(hold), on="box")
    with pytest.raises(OutOfReach, match="may be going on there") as caught:
        drive(broker, asked)
    assert caught.value.exit_code == 5
    assert only_job(broker).id in caught.value.hint
    assert only_job(broker).state is State.RUNNING
    box.faults.clear()
    let_go(hold, 0)
    drive(broker, only_job(broker))  # though its breaker is open
    assert right(asked)
    (attempt,) = broker.journal.attempts(only_job(broker).id)
    assert (attempt.state, attempt.remains) == ("done", Remains.NOTHING)


@pytest.mark.parametrize("jump", [-400 * 86400.0, 400 * 86400.0])
def test_a_clock_that_jumps_in_the_middle_changes_nothing(
    jump: float, box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, jumped = time.time, False
    monkeypatch.setattr("time.time", lambda: now() + (jump if jumped else 0.0))
    asked = request(tmp_path / "media", b"one", b"two", seconds=0.4)
    told: list[Event] = []
    for event in broker.drive(broker.submit(asked), Stop()):
        told.append(event)
        jumped = jumped or isinstance(event, Progress)
    assert jumped
    assert right(asked)
    assert [event.target for event in told if isinstance(event, Started)] == ["box"]
    another = request(tmp_path / "another", b"three")
    told = drive(broker, another)
    assert right(another)
    assert [event.target for event in told if isinstance(event, Started)] == ["box"]
