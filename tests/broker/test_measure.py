"""What an attempt teaches: of a real job on a real target, what it took, and what lies there now."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker import measure, settings
from broker.agent import Agent
from broker.broker import Broker
from broker.errors import LimitError
from broker.events import Progress
from broker.history import History, Observation
from broker.job import State
from broker.measure import BIG, Sheet
from broker.reports import Done
from broker.scripts import bundle, runner
from broker.stop import Stop
from broker.targets import Target
from executors.base import Lost, OutOfMemory, Probe
from executors.rented import Holding
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, ledger, let_go, only_job, request
from tests.broker.test_attempt import drive_and, is_progress

Box = type[FaultyExecutor]


@pytest.fixture
def boxed(box: Box) -> Iterator[Broker]:
    with Broker(settings.load()) as opened:
        yield opened


def seen(broker: Broker, target: str, service: str = "fake") -> dict[str, Observation]:
    """What was measured last, by what it is."""
    return {one.what: one for one in reversed(broker.journal.history.of(broker.targets[target], service))}


def test_a_job_tells_what_its_start_its_run_and_its_outputs_took(boxed: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold", 1)
    job = boxed.submit(request(tmp_path / "media", b"one", b"three", seconds=0.3, hold=str(hold)))
    drive_and(boxed, job, Stop(), is_progress, lambda: let_go(hold, 0))  # all of the second is after the first sign
    found = seen(boxed, "box")
    assert found.keys() == {"start", "run", "out"}
    assert (found["run"].amount, found["out"].amount, found["out"].seconds) == (8, 8, 400_000)
    assert found["run"].seconds >= 0.3
    assert found["start"].seconds > 0
    assert found["run"].kind == found["start"].kind
    assert found["run"].kind.startswith("bytes/-/")
    assert seen(boxed, "box", "") == {}  # too few bytes to tell of the link


def test_a_forecast_and_what_was_measured_add_up_to_the_attempt(boxed: Broker, tmp_path: Path) -> None:
    for number in range(2):
        drive(boxed, request(tmp_path / f"media{number}", os.urandom(2 * BIG), seconds=0.2, size=BIG))
    first, last = (boxed.journal.attempts(job.id)[0] for job in reversed(boxed.journal.jobs()))
    assert first.forecast is not None and "run" not in first.forecast  # nobody could tell
    assert last.forecast is not None and last.forecast.keys() == {"upload", "start", "prepare", "run", "download"}
    link = seen(boxed, "box", "")
    assert (link["up"].amount, link["down"].amount) == (2 * BIG, BIG)
    found = seen(boxed, "box")
    total = sum(one.seconds for one in (found["start"], found["run"], link["up"], link["down"]))
    assert last.ended is not None
    took = last.ended - last.started  # what comes after the last output, longer on a busy machine, is nobody's
    assert 0.2 < total <= took + 0.05


def test_a_start_for_which_a_machine_was_taken_is_told_apart(
    boxed: Broker, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(target: Target) -> Holding | None:
        entered = any(one[0] == "enter" for one in box.asked)
        return Holding("m-1", "a machine", 0, 0, 0, 0) if entered else None

    monkeypatch.setattr(Target, "holding", held)
    for number, what in enumerate(("cold", "start")):
        drive(boxed, request(tmp_path / f"{number}", b"one"))
        assert seen(boxed, "box").keys() == {"run", "out", "cold", *[what]}


def test_here_nothing_travels(broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", os.urandom(BIG), size=BIG))
    assert seen(broker, "local").keys() == {"start", "run", "out"}
    assert seen(broker, "local", "") == {}
    assert broker.journal.history.sent_to("local") == []


def test_kinds_are_apart(boxed: Broker, tmp_path: Path) -> None:
    for number, seconds in enumerate((0.02, 0.03, 0.02)):
        drive(boxed, request(tmp_path / f"media{number}", b"one", seconds=seconds))
    kinds = Counter(one.kind for one in boxed.journal.history.of(boxed.targets["box"], "fake") if one.what == "run")
    assert sorted(kinds.values()) == [1, 2]


def test_an_amount_that_is_known_is_what_counts(boxed: Broker, tmp_path: Path) -> None:
    job = boxed.submit(replace(request(tmp_path / "media", b"one", b"two"), unit="pages"))
    boxed.journal.weigh(job.id, {0: 30.0, 1: 12.0})
    drive(boxed, job)
    assert seen(boxed, "box")["run"].amount == 42
    assert seen(boxed, "box")["run"].kind.startswith("pages/")


@pytest.mark.parametrize("how", ["an item failed", "it was lost", "it was taken up again", "memory ran out"])
def test_what_went_another_way_than_usual_teaches_no_speed(
    how: str, boxed: Broker, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    contents = [b"!failed" if how == "an item failed" else b"one", b"two"]
    if how == "it was lost":
        box.faults.append(Fault("run", "events", Lost("box: gone")))
    if how == "memory ran out":
        box.faults.append(Fault("run", "events", OutOfMemory("box: out of memory")))
    job = boxed.submit(request(tmp_path / "media", *contents, seconds=0.1))
    if how == "it was taken up again":
        page = ledger(boxed.journal, job.id)
        page.may_remain(page.begin_attempt("box", "for a test"))
    drive(boxed, job)
    assert "run" not in seen(boxed, "box")


def test_what_is_measured_is_never_worth_a_job(boxed: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise LimitError("the disk is full")

    for name in ("insert", "note_sent"):
        monkeypatch.setattr(History, name, full)
    drive(boxed, request(tmp_path / "media", b"one"))
    assert only_job(boxed).state is State.DONE


# What lies there


def test_what_was_sent_is_known_and_not_counted_again(boxed: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"three")
    assert boxed.preview(asked, [None, None])[0].send_bytes == 8
    drive(boxed, asked)
    assert sorted(boxed.journal.history.sent_to("box")) == sorted(
        sha256(data).hexdigest() for data in (b"one", b"three")
    )
    again = request(tmp_path / "media", b"one", b"three", b"four")
    assert boxed.preview(again, [None] * 3)[0].send_bytes == 4


def test_what_was_sent_is_known_though_the_job_was_lost_then(boxed: Broker, box: Box, tmp_path: Path) -> None:
    box.faults.append(Fault("run", "start", Lost("box: gone")))
    drive(boxed, request(tmp_path / "media", b"one"))
    assert boxed.journal.history.sent_to("box") == [sha256(b"one").hexdigest()]


def test_what_a_target_has_deleted_is_forgotten(boxed: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"three")
    drive(boxed, asked)
    gone = sha256(b"one").hexdigest()
    (tmp_path / "box/blobs" / gone).unlink()
    with boxed.targets["box"].executor() as executor:
        agent = Agent(executor, bundle(runner()))
        agent.install()
        measure.recheck(ledger(boxed.journal, only_job(boxed).id), agent, "box")
    assert boxed.journal.history.sent_to("box") == [sha256(b"three").hexdigest()]
    assert boxed.preview(asked, [None, None])[0].send_bytes == 3


def test_what_a_machine_had_is_gone_with_it(boxed: Broker, tmp_path: Path) -> None:
    drive(boxed, request(tmp_path / "media", b"one"))
    boxed.journal.machine_gone("box")
    assert boxed.journal.history.sent_to("box") == []


def test_a_target_is_asked_once_what_it_has(
    boxed: Broker, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box, "probe", lambda self, deadline: Probe(True))
    assert boxed.journal.health.probe(boxed.targets["box"]).cpus is None
    for number in range(2):
        drive(boxed, request(tmp_path / f"media{number}", b"one"))
    assert [word for operation, word, _ in box.asked if operation == "run" and word == "facts"] == ["facts"]
    assert boxed.journal.health.known(boxed.targets["box"]).cpus == len(os.sched_getaffinity(0))


# The sheet


class Ticks:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    clock = Ticks()
    monkeypatch.setattr("broker.measure.time.monotonic", clock)
    return clock


def test_the_work_is_from_ready_to_the_last_item(ticks: Ticks) -> None:
    sheet = Sheet()
    sheet.visits = 1
    sheet.started()
    for at, report in ((105.0, Progress(0, 0.1, 1.0, 0.0)), (110.0, Done(0, {}, {})), (125.0, Done(1, {}, {}))):
        ticks.now = at
        sheet.heard(report)
    ticks.now = 130.0
    assert (sheet.work, sheet.tail, sheet.finished) == (20.0, 5.0, True)


def test_a_script_that_says_nothing_before_it_is_done_has_worked_all_that_time(ticks: Ticks) -> None:
    sheet = Sheet()
    sheet.started()
    ticks.now = 160.0
    sheet.heard(Progress(0, 1.0, 1.0, 0.0))
    sheet.heard(Done(0, {}, {}))
    assert sheet.work == pytest.approx(59.5)


def test_one_that_was_begun_again_for_want_of_packages_counts_from_then(ticks: Ticks) -> None:
    sheet = Sheet()
    sheet.started()
    ticks.now = 110.0
    sheet.heard(Progress(0, 0.0, 1.0, 0.0))
    sheet.started()
    ticks.now = 111.0
    sheet.heard(Progress(0, 0.1, 1.0, 0.0))
    ticks.now = 121.0
    sheet.heard(Done(0, {}, {}))
    assert sheet.work == pytest.approx(10.0)


def test_an_attempt_that_had_to_wait_for_its_target_tells_no_times(boxed: Broker, box: Box, tmp_path: Path) -> None:
    box.faults.append(Fault("run", "events", Lost("box: quiet"), times=1))
    job = boxed.submit(request(tmp_path / "media", b"one", seconds=0.1))
    told = list(boxed.drive(job, Stop()))
    assert any("waiting for it" in str(event) for event in told)
    assert [attempt.target for attempt in boxed.journal.attempts(job.id)] == ["box"]
    assert "run" not in seen(boxed, "box")


def test_an_item_that_another_attempt_did_first_teaches_no_speed(boxed: Broker, ticks: Ticks, tmp_path: Path) -> None:
    job = boxed.submit(request(tmp_path / "media", b"one", b"two"))
    drive(boxed, job)
    job = boxed.journal.job(job.id)
    for heard, figures in (((0, 1), {"start", "run", "out"}), ((0,), set[str]())):
        sheet = Sheet()
        sheet.staged_in(job.items, job.items, resumes=False, shared=False)
        sheet.started()
        for index in heard:
            ticks.now += 10
            sheet.heard(Done(index, {}, {}))
        run = SimpleNamespace(sheet=sheet, timings={})
        found = measure._observed(run, job, boxed.targets["box"])  # type: ignore[arg-type]
        assert {one.what for one in found} == figures
