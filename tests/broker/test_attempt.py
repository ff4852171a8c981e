"""One job on one target: how it is stopped, taken up, and what the receipt tells of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker import publication
from broker.broker import Broker
from broker.errors import Interrupted, UsageError
from broker.events import Event, Note, Progress, Published, Started
from broker.job import Job, State
from broker.stop import Stop
from broker.watch import Left
from executors.base import Lost
from tests import fakework
from tests.broker.faulty import FaultyExecutor
from tests.broker.jobs import drive, ledger, let_go, notes, only_job, request, right
from tests.offload.background import until
from tests.processes import of_job

Box = type[FaultyExecutor]


class Killed(BaseException):
    """The process died here."""


def drive_and(
    broker: Broker, job: Job, stop: Stop, when: Callable[[Event], bool], do: Callable[[], object]
) -> list[Event]:
    """Drive a job; `do` something once, after the first event `when` is true of."""
    told: list[Event] = []
    done = False
    for event in broker.drive(job, stop):
        told.append(event)
        if not done and when(event):
            done = True
            do()
    return told


def is_progress(event: Event) -> bool:
    return isinstance(event, Progress)


def jobs_on(broker: Broker, target: str) -> list[Path]:
    root = Path(broker.targets[target].executor().root)  # type: ignore[attr-defined]
    return list((root / "jobs").glob("*"))


# Being overtaken


def test_a_driver_that_was_overtaken_publishes_nothing_and_watches_the_other(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", seconds=0.5, family=True)
    job = broker.submit(asked)
    told = drive_and(broker, job, Stop(), is_progress, lambda: ledger(broker.journal, job.id))
    assert right(asked)
    assert len([event for event in told if isinstance(event, Published)]) == 1
    assert [line for line in notes(told) if "another process" in line]
    (attempt,) = broker.journal.attempts(job.id)
    assert attempt.state == "done"
    assert not of_job(attempt.remote)


def test_a_driver_that_was_overtaken_ends_nothing_of_the_others(broker: Broker, tmp_path: Path) -> None:
    job, stop = broker.submit(request(tmp_path / "media", b"one", seconds=30)), Stop()
    driven = broker.drive(job, stop)
    assert any(is_progress(event) for event in driven)
    remote = broker.journal.attempts(job.id)[-1].remote
    ledger(broker.journal, job.id)
    stop.request()
    with pytest.raises(Left):
        driven.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
        list(driven)
    assert of_job(remote)
    broker.cancel(only_job(broker))
    assert not of_job(remote)


# Stopping


def test_a_polite_stop_keeps_what_is_finished_and_leaves_no_process(broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold", 0)
    asked = request(tmp_path / "media", b"one", b"two", b"three", family=True, hold=str(hold))
    job, stop = broker.submit(asked), Stop()
    with pytest.raises(Interrupted):
        drive_and(broker, job, stop, lambda event: isinstance(event, Published), stop.request)
    job = only_job(broker)
    assert job.state is State.CANCELLED
    assert [item.done for item in job.items] == [True, False, False]
    assert {path.name for path in (tmp_path / "media").iterdir()} == {"0.dat", "1.dat", "2.dat", "0.worked.bin"}
    (attempt,) = broker.journal.attempts(job.id)
    assert attempt.state == "cancelled"
    assert not of_job(attempt.remote)
    assert jobs_on(broker, "local") == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("when", [Started, Progress, Published])
def test_a_stop_at_once_leaves_no_process_and_no_part(
    error: type[BaseException], when: type[Event], broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.leaving.HURRY_SECONDS", 120.0)  # a busy machine takes longer to end it
    hold = let_go(tmp_path / "hold", 0)
    asked = request(tmp_path / "media", b"one", b"two", family=True, hold=str(hold))
    driven = broker.drive(broker.submit(asked), Stop())
    assert isinstance(driven, Iterator)
    for event in driven:
        if isinstance(event, when):
            break
    with pytest.raises(error):
        driven.throw(error)  # type: ignore[attr-defined]
    job = only_job(broker)
    assert job.state is State.CANCELLED
    assert not any(of_job(attempt.remote) for attempt in broker.journal.attempts(job.id))
    assert not list((tmp_path / "media").glob(".*"))
    assert jobs_on(broker, "local") == []
    assert not broker.driven(job.id)


@pytest.mark.parametrize("moment", ["fetch", "_settle", "_place", "sync"])
def test_a_stop_at_once_in_the_middle_of_publication(
    moment: str, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = publication if moment != "fetch" else __import__("broker.staging").staging
    step = getattr(owner, moment)
    struck = False

    def strike(*args: object) -> object:
        nonlocal struck
        result = step(*args)
        if not struck:
            struck = True
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, moment, strike)
    asked = request(tmp_path / "media", b"one")
    with pytest.raises(KeyboardInterrupt):
        drive(broker, asked)
    job = only_job(broker)
    assert struck
    assert job.state is State.CANCELLED
    if moment == "fetch":
        assert [path.name for path in (tmp_path / "media").iterdir()] == ["0.dat"]
    else:
        assert right(asked)
        assert job.items[0].done


def test_all_done_when_the_stop_arrives_is_done(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    job, stop = broker.submit(asked), Stop()
    drive_and(broker, job, stop, lambda event: isinstance(event, Published), stop.request)
    assert only_job(broker).state is State.DONE


def test_a_job_nobody_drives_is_cancelled_where_it_runs(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", seconds=30, family=True)
    job = broker.submit(asked)
    attempt = _abandon(broker, job)
    assert of_job(attempt)
    broker.cancel(only_job(broker))
    assert not of_job(attempt)
    assert only_job(broker).state is State.CANCELLED
    with pytest.raises(UsageError, match="is cancelled already"):
        broker.cancel(only_job(broker))


def test_a_removed_job_is_gone_everywhere_but_for_its_results(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"two", seconds=0.3, family=True)
    job = broker.submit(asked)
    attempt = _abandon(broker, job)
    part = publication.part_path(job, job.items[1], job.items[1].outputs[0])
    part.write_bytes(b"half")
    broker.remove(only_job(broker))
    assert not of_job(attempt)
    assert not part.exists()
    assert jobs_on(broker, "local") == []
    assert broker.journal.jobs() == []


def test_an_abandoned_job_is_taken_up_where_it_runs(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", seconds=0.5)
    job = broker.submit(asked)
    _abandon(broker, job)
    left = broker.unfinished(asked)
    assert left is not None
    drive(broker, left)
    assert right(asked)
    assert [attempt.number for attempt in broker.journal.attempts(job.id)] == [1]


def test_what_was_fetched_before_a_crash_needs_no_target_any_more(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise Killed

    asked = request(tmp_path / "media", b"one")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(publication, "_place", crash)
        drive(broker, asked)
    for job in jobs_on(broker, "local"):
        until(lambda job=job: (job / "status.json").read_text().startswith('{"state":"ended"'), "it does not end")
        shutil.rmtree(job)
    told = drive(broker, only_job(broker))
    assert right(asked)
    assert not any(isinstance(event, Progress) for event in told)


def test_an_abandoned_job_whose_input_changed_is_ended(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", seconds=30, family=True)
    job = broker.submit(asked)
    attempt = _abandon(broker, job)
    asked.inputs[0].source.write_bytes(b"new")
    drive(broker, only_job(broker))
    assert only_job(broker).items[0].kind == "bad_input"
    assert not of_job(attempt)


def _abandon(broker: Broker, job: Job) -> str:
    """Drive a job until it has begun to run, then die as SIGKILL would have us. Returns its name on the target."""
    driven = broker.drive(job, Stop())
    for event in driven:
        if isinstance(event, Progress):
            break
    with pytest.raises(Killed):
        driven.throw(Killed)  # type: ignore[attr-defined]
    return broker.journal.attempts(job.id)[-1].remote


# The receipt, and what comes after


def test_the_receipt_tells_where_why_how_long_and_with_what(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"!limit", digest=True)
    drive(broker, asked)
    receipt = broker.receipt(only_job(broker).id)
    assert (receipt["service"], receipt["state"], receipt["error"]) == ("fake", "partly", None)
    assert receipt["params"]["digest"] is True
    good, bad = receipt["items"]
    assert (good["state"], good["measured"], bad["state"], bad["kind"]) == ("done", {"bytes": 3}, "failed", "limit")
    assert [(Path(output["path"]).name, output["size"], output["attempt"]) for output in good["outputs"]] == [
        ("0.worked.bin", fakework.SIZE, 1),
        ("0.worked.txt", 64, 1),
    ]
    (attempt,) = receipt["attempts"]
    assert (attempt["target"], attempt["state"]) == ("box", "done")
    assert attempt["reason"] == "the first reachable target in your order"
    assert attempt["versions"]["fakework"] == "1"
    assert set(attempt["timings"]) == {"stage_in", "run", "work", "stage_out"}
    assert 0 < attempt["timings"]["run"] <= attempt["seconds"] <= receipt["seconds"]


def test_the_target_keeps_nothing_of_a_job_whose_results_are_here(box: Box, broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one"))
    assert jobs_on(broker, "box") == []


def test_housekeeping_that_fails_is_not_the_jobs_failure(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Lost("local: gone")

    monkeypatch.setattr("broker.agent.Agent.gc", fail)
    asked = request(tmp_path / "media", b"one")
    drive(broker, asked)
    assert right(asked)


def test_logs_are_those_of_every_attempt(box: Box, broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(Lost):
        drive(broker, request(tmp_path / "media", b"one", noise=True, trouble="SIGKILL"))
    logs = [(attempt.target, text) for attempt, text in broker.logs(only_job(broker))]
    assert [target for target, _ in logs] == ["box", "local", "local"]
    assert all("a warning" in text for _, text in logs)


def test_a_note_can_be_of_the_whole_job() -> None:
    assert Note("x").index is None


# What stays on the target


@pytest.mark.parametrize("keep", [False, True])
def test_the_targets_copy_goes_unless_it_is_to_be_kept(keep: bool, broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one", keep=keep))
    list(broker.drive(job, Stop()))
    folders = list((broker.settings.cache_dir / "local/jobs").iterdir())
    assert bool(folders) is keep
    assert all((folder / "out/0/worked.bin").exists() for folder in folders)


def test_a_target_tidies_itself_once_a_day(broker: Broker, tmp_path: Path) -> None:
    stale = broker.settings.cache_dir / "local/parts/0123"
    for number, gone in enumerate([True, False, True]):
        stale.mkdir(parents=True, exist_ok=True)
        os.utime(stale, (0, 0))
        list(broker.drive(broker.submit(request(tmp_path / str(number), b"one")), Stop()))
        assert stale.exists() is not gone
        if number == 1:
            os.utime(broker.settings.state_dir / "tidied/local", (0, 0))


def test_a_cancel_that_its_driver_heard_of_first_is_no_error(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    page = ledger(broker.journal, job.id)
    attempt = page.begin_attempt("local", "a test")
    page.advance(State.RUNNING)

    def closes(*_: object, **__: object) -> list[str]:
        page.end_attempt(attempt, "done", "", {})
        page.advance(State.DONE)
        return []

    monkeypatch.setattr(broker.contact, "end", closes)
    broker.cancel(broker.journal.job(job.id))
    assert broker.journal.job(job.id).state is State.DONE
    assert [one.state for one in broker.journal.attempts(job.id)] == ["done"]


def test_how_an_attempt_ended_is_said_once(broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    page = ledger(broker.journal, job.id)
    attempt = page.begin_attempt("local", "a test")
    page.end_attempt(attempt, "done", "", {})
    page.end_attempt(attempt, "cancelled", "too late", {})
    assert broker.journal.attempts(job.id)[0].state == "done"


def test_a_state_folder_that_cannot_be_written_costs_no_finished_job(broker: Broker, tmp_path: Path) -> None:
    (broker.settings.state_dir / "tidied").write_text("in the way of the marks")
    job = broker.submit(request(tmp_path / "media", b"one"))
    list(broker.drive(job, Stop()))
    assert broker.journal.job(job.id).state is State.DONE
