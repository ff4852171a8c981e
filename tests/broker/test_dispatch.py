"""Whatever goes wrong on a target, at whatever stage, ends with one good output, or one clear error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from broker import policy, settings
from broker.agent import VERB_SECONDS, Agent
from broker.broker import Broker
from broker.errors import IntegrityError, Interrupted, JobFailed, LimitError, NoTarget, OutOfReach
from broker.events import Event, ItemFailed, Note, Progress, Published, Started
from broker.job import Remains, State
from broker.leaving import HURRY_SECONDS
from broker.stop import Stop
from executors.base import (
    PART_BYTES,
    ExecutorError,
    Gone,
    Lost,
    NoQuota,
    NoSpace,
    OutOfMemory,
    Refused,
    Span,
    TransferFailed,
    Unreachable,
)
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, let_go, notes, only_job, request, right
from tests.broker.test_attempt import drive_and
from tests.offload.background import until
from tests.processes import of_job

Box = type[FaultyExecutor]

STAGES = {
    "cannot be reached": Fault("probe", error=Unreachable("box: no route")),
    "gone before the start": Fault("enter", error=Unreachable("box: connection refused")),
    "gone while scripts are sent": Fault("put", "scripts/", Lost("box: gone")),
    "gone when asked for what it has": Fault("run", "parts", Lost("box: gone")),
    "gone during upload": Fault("put", "parts/", Lost("box: gone"), skip=1),
    "transfer fails time and again": Fault("put", "parts/", TransferFailed("box: reset")),
    "disk full during upload": Fault("put", "parts/", NoSpace("box: the disk is full")),
    "gone when joining": Fault("run", "assemble", Lost("box: gone")),
    "gone at the start": Fault("run", "start", Lost("box: gone")),
    "no quota at the start": Fault("run", "start", NoQuota("box: no capacity")),
    "gone in the run": Fault("run", "events", Lost("box: gone"), skip=1),
    "memory out in the run": Fault("run", "events", OutOfMemory("box: out of memory"), skip=1),
    "gone in the download": Fault("get", "out/", Lost("box: gone")),
    "download always damaged": Fault("get", "out/"),
    "upload always damaged": Fault("put", "parts/"),
}

RUNS_ON = ("gone at the start", "gone in the run", "gone in the download")
IN_THE_RUN = ("gone in the run", "memory out in the run")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


def is_started_here(event: Event) -> bool:
    return isinstance(event, Started) and event.target == "local"


@pytest.mark.parametrize("stage", STAGES)
def test_a_target_that_fails_at_any_stage_ends_with_the_right_outputs(
    stage: str, box: Box, broker: Broker, tmp_path: Path
) -> None:
    box.faults.append(STAGES[stage])
    hold = let_go(tmp_path / "hold", *() if stage in IN_THE_RUN else (0, 1))
    asked = request(tmp_path / "media", b"one", b"two", hold=str(hold))

    told = drive_and(broker, broker.submit(asked), Stop(), is_started_here, lambda: let_go(hold, 0, 1))

    assert right(asked)
    assert [
        index
        for index in range(2)
        if Published(index, (asked.inputs[index].outputs["worked.bin"],), {"bytes": 3}) in told
    ] == [0, 1]
    job = only_job(broker)
    assert job.state is State.DONE
    said = [line for line in notes(told) if "going on with local" in line]
    assert len(said) == 1
    assert said[0].startswith("box: ") or "from box" in said[0]
    attempts = broker.journal.attempts(job.id)
    assert attempts[-1].target == "local"
    assert [attempt.state for attempt in attempts[:-1]] == ["lost"] * (stage != "cannot be reached")
    assert not of_job(attempts[-1].remote)
    until(lambda: not any(of_job(attempt.remote) for attempt in attempts), "the end of what was given up there")


@pytest.mark.parametrize("stage", STAGES)
def test_without_fallback_the_same_ends_with_its_error_and_nothing_half_done(
    stage: str, box: Box, broker: Broker, tmp_path: Path
) -> None:
    box.faults.append(STAGES[stage])
    hold = let_go(tmp_path / "hold", *() if stage in IN_THE_RUN else (0,))
    asked = request(tmp_path / "media", b"one", fallback=False, hold=str(hold))
    if stage == "gone during upload":  # one part only: skip none
        box.faults[0] = Fault("put", "parts/", Lost("box: gone"))

    with pytest.raises((ExecutorError, NoTarget, IntegrityError), match="box"):
        drive(broker, asked)

    assert [path.name for path in (tmp_path / "media").iterdir()] == ["0.dat"]
    job = only_job(broker)
    # Where it may be running on, the job is still open, to be taken up there.
    assert job.state is (State.RUNNING if stage in RUNS_ON else State.FAILED)
    assert {attempt.target for attempt in broker.journal.attempts(job.id)} <= {"box"}
    if stage in RUNS_ON:
        box.faults.clear()
        let_go(hold, 0)
        drive(broker, job)
        assert right(asked)
        assert len(broker.journal.attempts(job.id)) == 1


def test_only_what_is_missing_is_done_again(box: Box, broker: Broker, tmp_path: Path) -> None:
    box.faults.append(Fault("get", "out/", Lost("box: gone"), skip=1))
    asked = request(tmp_path / "media", b"one", b"two", b"three")

    told = drive(broker, asked)

    assert right(asked)
    assert [event.index for event in told if isinstance(event, Published)] == [0, 1, 2]
    second = told.index(Started("local", broker.journal.attempts(only_job(broker).id)[1].reason))
    assert {event.index for event in told[second:] if isinstance(event, Progress)} == {1, 2}
    assert [item.outputs[0].attempt for item in only_job(broker).items] == [1, 2, 2]


def test_a_hiccup_of_the_link_moves_no_job(box: Box, broker: Broker, tmp_path: Path) -> None:
    box.faults.append(Fault("run", "events", Lost("box: hiccup"), skip=1, times=1))
    hold = let_go(tmp_path / "hold")
    asked = request(tmp_path / "media", b"one", hold=str(hold))
    told = drive_and(
        broker, broker.submit(asked), Stop(), lambda event: isinstance(event, Note), lambda: let_go(hold, 0)
    )
    assert right(asked)
    assert notes(told) == ["box: hiccup; waiting for it"]
    assert [attempt.target for attempt in broker.journal.attempts(only_job(broker).id)] == ["box"]
    assert [name for name, word, _ in box.asked if word.startswith("parts/")] == ["put"]


def test_what_is_known_to_be_gone_is_not_waited_for(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "60")
    box.faults.append(Fault("run", "events", Gone("box: unassigned"), skip=1))
    hold = let_go(tmp_path / "hold")
    asked = request(tmp_path / "media", b"one", hold=str(hold))
    with Broker(settings.load()) as patient:
        drive_and(patient, patient.submit(asked), Stop(), is_started_here, lambda: let_go(hold, 0))
    assert right(asked)
    assert [attempt.target for attempt in broker.journal.attempts(only_job(broker).id)] == ["box", "local"]


def test_the_orphan_on_a_target_that_was_given_up_is_ended_when_it_is_back(
    box: Box, broker: Broker, tmp_path: Path
) -> None:
    box.faults.append(Fault("run", "events", Lost("box: gone"), skip=1))
    hold = let_go(tmp_path / "hold")
    asked = request(tmp_path / "media", b"one", hold=str(hold), family=True, on="box,local")
    job = broker.submit(asked)
    driven = broker.drive(job, Stop())
    assert next(event for event in driven if event == Started("local", "the next in your order"))
    first, _ = broker.journal.attempts(job.id)
    assert (first.state, first.remains) == ("lost", Remains.ORPHAN)
    assert of_job(first.remote)
    with pytest.raises(KeyboardInterrupt):
        driven.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    box.faults.clear()
    assert broker.journal.health.ask(broker.targets["box"]).reachable
    another = request(tmp_path / "another", b"two", on="box")
    drive(broker, another)
    assert right(another)
    assert not of_job(first.remote)
    assert broker.journal.orphans() == []
    assert list((tmp_path / "box" / "jobs").iterdir()) == []


def test_a_flipped_bit_in_the_download_is_caught_and_fetched_again(box: Box, broker: Broker, tmp_path: Path) -> None:
    box.faults.append(Fault("get", "out/", times=1))
    asked = request(tmp_path / "media", b"one")
    drive(broker, asked)
    assert right(asked)
    assert [attempt.target for attempt in broker.journal.attempts(only_job(broker).id)] == ["box"]


def test_refused_is_said_loudly_and_never_tried_again_there(box: Box, broker: Broker, tmp_path: Path) -> None:
    box.faults.append(Fault("enter", error=Refused("box: the host key has changed")))
    told = drive(broker, request(tmp_path / "media", b"one"))
    assert [line for line in notes(told) if "REFUSED: box: the host key has changed" in line]
    assert [name for name, *_ in box.asked].count("enter") == 1


def test_refused_alone_ends_with_its_own_exit_code(box: Box, broker: Broker, tmp_path: Path) -> None:
    box.faults.append(Fault("enter", error=Refused("box: the host key has changed")))
    with pytest.raises(Refused) as caught:
        drive(broker, request(tmp_path / "media", b"one", on="box"))
    assert caught.value.exit_code == 7


def test_this_machine_is_tried_twice_for_an_accident_and_once_for_what_would_happen_again(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, tries in ((Lost("local: gone"), 2), (NoSpace("local: the disk is full"), 1)):
        monkeypatch.setattr("executors.local.LocalExecutor.__enter__", _raising(error))
        folder = tmp_path / f"media{tries}"
        with pytest.raises(type(error)):
            drive(broker, request(folder, b"one"))
        job = broker.journal.jobs()[0]
        assert len(broker.journal.attempts(job.id)) == tries
    assert policy.RUNS_HERE == 2


def _raising(error: Exception) -> object:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("trouble", ["exit", "invent"])
def test_a_script_that_fails_is_not_tried_elsewhere(trouble: str, box: Box, broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="status 3" if trouble == "exit" else "made no worked.bin"):
        drive(broker, request(tmp_path / "media", b"one", trouble=trouble, family=True))
    job = only_job(broker)
    (attempt,) = broker.journal.attempts(job.id)
    assert (job.state, attempt.target, attempt.state) == (State.FAILED, "box", "failed")
    assert not of_job(attempt.remote)
    assert [path.name for path in (tmp_path / "media").iterdir()] == ["0.dat"]
    if trouble == "exit":
        assert "giving" in (broker.journal.log(attempt) or "")


@pytest.mark.parametrize("trouble", ["SIGKILL", "SIGSEGV"])
def test_a_script_killed_by_a_signal_is_the_machines_failure(
    trouble: str, box: Box, broker: Broker, tmp_path: Path
) -> None:
    with pytest.raises(Lost, match="killed by signal"):
        drive(broker, request(tmp_path / "media", b"one", trouble=trouble))
    assert [attempt.target for attempt in broker.journal.attempts(only_job(broker).id)] == ["box", "local", "local"]


@pytest.mark.parametrize("kind", ["bad_input", "missing", "failed", "limit"])
def test_one_bad_item_of_three_fails_alone(kind: str, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"!" + kind.encode(), b"three")
    told = drive(broker, asked)
    job = only_job(broker)
    assert [item.kind for item in job.items] == [None, kind, None]
    assert job.state is State.PARTLY
    assert [(event.index, event.kind) for event in told if isinstance(event, ItemFailed)] == [(1, kind)]
    assert {path.name for path in (tmp_path / "media").glob("*.bin")} == {"0.worked.bin", "2.worked.bin"}
    assert len(broker.journal.attempts(job.id)) == 1


def test_an_item_that_needs_more_memory_moves_the_job(box: Box, broker: Broker, tmp_path: Path) -> None:
    told = drive(broker, request(tmp_path / "media", b"!memory", family=True))
    assert [event.error for event in told if isinstance(event, ItemFailed)] == ["MemoryError: no room to think"]
    attempts = broker.journal.attempts(only_job(broker).id)
    assert [attempt.target for attempt in attempts] == ["box", "local"]
    assert not any(of_job(attempt.remote) for attempt in attempts)


def test_a_full_disk_here_leaves_the_job_to_be_taken_up(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tmp_path / "media", b"one")
    with monkeypatch.context() as patched:
        patched.setattr("broker.staging._download", _raising(OSError(28, "No space left on device")))
        with pytest.raises(LimitError, match="cannot be stored"):
            drive(broker, asked)
    assert [path.name for path in (tmp_path / "media").iterdir()] == ["0.dat"]
    assert len(list((tmp_path / "box").glob("jobs/*/out/0/worked.bin"))) == 1

    left = broker.unfinished(asked)
    assert left is not None
    drive(broker, left)

    assert right(asked)
    (attempt,) = broker.journal.attempts(left.id)
    assert attempt.target == "box"
    assert [name for name, word, _ in box.asked if word.startswith("parts/")] == ["put"]


def test_a_stop_before_the_start_starts_nothing(box: Box, broker: Broker, tmp_path: Path) -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(Interrupted, match="before it ran"):
        drive(broker, request(tmp_path / "media", b"one"), stop)
    assert only_job(broker).state is State.CANCELLED
    assert not [word for name, word, _ in box.asked if word == "start" or word.startswith("parts/")]


def test_a_stop_during_upload_stops_between_two_parts(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, put = Stop(), box.put

    def put_and_stop(self: FaultyExecutor, source: Path, span: Span, path: str) -> None:
        put(self, source, span, path)
        if path.startswith("parts/"):
            stop.request()

    monkeypatch.setattr(box, "put", put_and_stop)
    with pytest.raises(Interrupted):
        drive(broker, request(tmp_path / "media", bytes(12 * PART_BYTES)), stop)
    assert only_job(broker).state is State.CANCELLED
    assert 1 <= len([word for _, word, _ in box.asked if word.startswith("parts/")]) <= 2 * box.streams


def test_a_job_that_is_over_is_not_driven_again(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    drive(broker, asked)
    assert drive(broker, only_job(broker)) == []
    assert len(broker.journal.attempts(only_job(broker).id)) == 1


def test_a_detached_job_waits_for_a_target_that_is_away(box: Box, broker: Broker, tmp_path: Path) -> None:
    box.faults.append(Fault("probe", error=Unreachable("box: no route")))
    asked = replace(request(tmp_path / "media", b"one", on="box"), detached=True)
    job, stop = broker.submit(asked), Stop()
    with pytest.raises(OutOfReach, match="no route"), broker.driving(job, stop) as own:  # as a follower does
        list(broker.go_on(own, stop))
    assert only_job(broker).state is State.QUEUED
    box.faults.clear()
    assert broker.journal.health.ask(broker.targets["box"]).reachable
    with broker.driving(job, stop) as own:
        list(broker.go_on(own, stop))
    assert right(asked)


def test_who_says_stop_twice_waits_little_for_a_target_that_does_not_answer(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    cancel = Agent.cancel

    def noted(self: Agent, job: str, grace: float, within: float = VERB_SECONDS) -> None:
        waits.append(within)
        cancel(self, job, grace, within)

    monkeypatch.setattr(Agent, "cancel", noted)
    driven = broker.drive(broker.submit(request(tmp_path / "media", b"one", seconds=20)), Stop())
    assert any(isinstance(event, Progress) for event in driven)
    with pytest.raises(KeyboardInterrupt):
        driven.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert waits == [HURRY_SECONDS]
