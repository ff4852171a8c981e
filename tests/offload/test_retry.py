"""`offload jobs retry`: what is missing of a job is done, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.job import Job, State
from broker.lease import Held
from offload.jobs import _reopened
from tests import fakework
from tests.broker.jobs import ledger
from tests.offload.background import LONG, Stage, at_work, finish, interrupt, said_so, stage, state, tries, until
from tests.services.typed import OFFLOAD, Said, fake, offload

__all__ = ["stage"]


def retry(stage: Stage, *words: str) -> Said:
    return offload(stage.here, "jobs", "retry", *words)


def latest(stage: Stage) -> str:
    job: str = offload(stage.here, "jobs", "ls", "--json").document[0]["job"]
    return job


@pytest.fixture
def stopped(stage: Stage) -> str:
    """A job of two items that was stopped when the first was done."""
    (stage.here / "b.dat").write_text("more work")
    command = stage.start(*stage.held, "a.dat", "b.dat")
    stage.go_on(0)
    until((stage.here / "a.worked.bin").exists, "the first output")
    assert interrupt(command).code == 130
    stage.go_on(1)
    return latest(stage)


def test_only_what_is_missing_is_done(stage: Stage, stopped: str) -> None:
    before = (stage.here / "a.worked.bin").stat()
    said = retry(stage, stopped)
    assert (said.code, said.lines) == (0, [str(stage.here / f"{name}.worked.bin") for name in "ab"])
    assert (stage.here / "a.worked.bin").stat() == before
    assert (stage.here / "b.worked.bin").read_bytes() == fakework.expected(b"more work")
    assert (state(stopped), tries(stopped)) == ("done", [("local", "cancelled"), ("local", "done")])


def test_an_input_that_changed_fails_alone(stage: Stage, stopped: str) -> None:
    (stage.here / "b.dat").write_text("other work")
    said = retry(stage, stopped, "--json")
    [document] = said.document
    assert (said.code, document["exit_code"], document["state"]) == (101, 101, "partly")
    assert [item["kind"] for item in document["items"]] == [None, "bad_input"]
    assert "changed" in said.err


def test_a_done_job_has_nothing_to_do(stage: Stage) -> None:
    assert fake(stage.here, "a.dat").code == 0
    before = (stage.here / "a.worked.bin").stat()
    said = retry(stage, latest(stage))
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])
    assert "nothing is missing" in said.err
    assert [document["state"] for document in retry(stage, latest(stage), "--json").document] == ["done"]
    assert (stage.here / "a.worked.bin").stat() == before


def test_what_fails_again_ends_as_it_did(stage: Stage) -> None:
    (stage.here / "a.dat").write_text("!limit")
    assert fake(stage.here, "a.dat").code == 8
    said = retry(stage, latest(stage))
    assert (said.code, state(latest(stage))) == (8, "failed")
    assert "a.dat: too much work" in said.err


def test_an_open_job_is_watched(stage: Stage) -> None:
    job = stage.detach(*stage.held, "a.dat")
    command = stage.start("jobs", "retry", job, command=OFFLOAD)
    said_so(command, b"watching it")
    stage.go_on()
    said = finish(command)
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])
    assert tries(job) == [("local", "done")]


def test_a_detached_job_is_retried_in_the_background(stage: Stage) -> None:
    job = stage.detach("--family", *LONG, "a.dat")
    until(lambda: at_work(job), "the script")
    assert offload(stage.here, "jobs", "cancel", job).code == 0
    command = stage.start("jobs", "retry", job, command=OFFLOAD)
    until(lambda: at_work(job, 2), "the second attempt")
    said = interrupt(command)
    assert (said.code, state(job)) == (130, "detached")
    assert at_work(job, 2)


def test_several_are_retried_and_their_failures_told(stage: Stage, stopped: str) -> None:
    (stage.here / "c.dat").write_text("!failed")
    assert fake(stage.here, "c.dat").code == 6
    said = retry(stage, stopped, latest(stage), "-q")
    assert (said.code, len(said.lines)) == (101, 2)


def test_two_retries_at_once_do_it_once(stage: Stage, stopped: str) -> None:
    said = [finish(one) for one in [stage.start("jobs", "retry", stopped, command=OFFLOAD) for _ in range(2)]]
    assert [one.code for one in said] == [0, 0], said
    assert tries(stopped) == [("local", "cancelled"), ("local", "done")]


def test_a_retry_that_finds_another_at_its_first_step_goes_on_with_that_one(
    stage: Stage, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, told = Broker.reopen, iter([True, False])

    def reopen(self: Broker, job: Job) -> None:
        if next(told):
            raise Held(job.id)  # its holder has not reopened the job yet
        really(self, job)

    monkeypatch.setattr(Broker, "reopen", reopen)
    with Broker(settings.load()) as broker:
        assert _reopened(broker, broker.journal.job(stopped)).state is State.QUEUED


def test_a_job_that_waits_since_it_failed_here_is_tried_here_again(stage: Stage, offload_dirs: Path) -> None:
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://127.0.0.1:1"\n')
    job = stage.work("--when", "remote", "--seconds", "0", "a.dat").lines[0]
    with Broker(settings.load()) as broker:  # as the driver leaves it when it has failed here, and box is away
        until(lambda: not broker.driven(job), "that its follower leaves it")
        broker.journal.health.failed(broker.targets["box"], "box: no route")
        page = ledger(broker.journal, job)
        page.advance(State.RUNNING)
        page.end_attempt(page.begin_attempt("local", "for a test"), "lost", "memory ran out", {})
    said = retry(stage, job)
    assert (said.code, said.lines) == (0, [str(stage.here / "a.worked.bin")])
    assert tries(job) == [("local", "lost"), ("local", "done")]
