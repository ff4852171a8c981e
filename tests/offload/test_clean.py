"""What was left on a target is told of by `doctor` and cleaned by `targets clean`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.job import Job, State
from tests.broker.jobs import ledger, request
from tests.services.typed import offload


@pytest.fixture
def near(here: Path, offload_dirs: Path) -> Iterator[Broker]:
    """A broker with the target `near`, which shares no files."""
    (offload_dirs / "config/targets.toml").write_text(f'[near]\nurl = "local://{here}/near"\nshare = "no"\n')
    with Broker(settings.load()) as broker:
        yield broker


def left(broker: Broker, here: Path) -> Job:
    """A job whose attempt on `near` was given up, and is still there."""
    job = broker.submit(request(here / "media", b"one"))
    page = ledger(broker.journal, job.id)
    page.advance(State.RUNNING)
    attempt = page.begin_attempt("near", "a test")
    page.may_remain(attempt)
    page.end_attempt(attempt, "lost", "gone", {})
    page.advance(State.FAILED, "gone", 5)
    with broker.contact.visit(broker.targets["near"], job.script) as agent:
        spec = {"id": job.id, "items": [], "params": {}, "limits": {}}
        about = {"spec": spec, "inputs": [], "environment": {"requires_python": "", "dependencies": [], "install": ""}}
        client = (broker.settings.state_dir / "client").read_text() if _known(broker) else None
        agent.start(attempt.remote, job.script.name, {**about, "client": client})
    return job


def _known(broker: Broker) -> bool:
    return (broker.settings.state_dir / "client").exists()


def jobs_there(here: Path) -> list[str]:
    return [path.name for path in (here / "near/jobs").iterdir()]


def test_an_orphan_is_told_of_and_cleaned(near: Broker, here: Path) -> None:
    job = left(near, here)
    told = offload(here, "doctor")
    assert told.code == 0
    assert [line for line in told.lines if line.startswith("note  orphans: near may still hold")]
    assert [name[:12] for name in jobs_there(here)] == [job.id]
    said = offload(here, "targets", "clean", "near")
    assert (said.code, said.out) == (0, b"")
    assert "1 job ended and deleted on near" in said.err
    assert jobs_there(here) == []
    assert not [line for line in offload(here, "doctor").lines if "orphans" in line]


def test_a_job_in_no_journal_is_told_of_and_cleaned(near: Broker, here: Path) -> None:
    near.contact.leftovers(near.targets["near"])  # gives us a name
    job = left(near, here)
    near.journal.forget(job.id)
    (near.settings.state_dir / f"open/{job.id}.json").unlink()  # the whole state folder was lost
    assert [
        line for line in offload(here, "doctor").lines if "target near: 1 of our jobs there is in no journal" in line
    ]
    assert offload(here, "targets", "clean", "near").code == 0
    assert jobs_there(here) == []


def test_a_target_is_cleaned_before_it_is_removed(near: Broker, here: Path) -> None:
    left(near, here)
    assert offload(here, "targets", "rm", "near").code == 0
    assert jobs_there(here) == []
    assert near.journal.orphans() == []


def test_a_target_that_is_away_can_be_removed_and_is_not_spoken_of_again(
    near: Broker, here: Path, offload_dirs: Path
) -> None:
    left(near, here)
    (here / "file").touch()
    (offload_dirs / "config/targets.toml").write_text(f'[near]\nurl = "local://{here}/file/x"\n')
    assert offload(here, "targets", "clean", "near").code == 5
    assert offload(here, "targets", "rm", "near").code == 0
    assert near.journal.orphans() == []


def test_a_target_in_use_is_not_removed(near: Broker, here: Path) -> None:
    job = near.submit(request(here / "media", b"one"))
    page = ledger(near.journal, job.id)
    page.advance(State.RUNNING)
    page.begin_attempt("near", "a test")
    said = offload(here, "targets", "rm", "near")
    assert said.code == 2
    assert f"job {job.id} uses near" in said.err
    assert f"offload jobs cancel {job.id}" in said.err
    assert offload(here, "targets", "ls").lines[0].startswith("near")


def test_a_cancel_that_can_tell_nobody_says_so(near: Broker, here: Path, offload_dirs: Path) -> None:
    job = near.submit(request(here / "media", b"one"))
    page = ledger(near.journal, job.id)
    page.advance(State.RUNNING)
    page.may_remain(page.begin_attempt("near", "a test"))
    (offload_dirs / "config/targets.toml").write_text("")
    said = offload(here, "jobs", "cancel", job.id)
    assert "near cannot be reached" in said.err
    assert "it is no target any more" in offload(here, "jobs", "ls").err
