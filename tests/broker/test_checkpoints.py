"""What an attempt has finished is not done again by the next one, wherever that runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pytest

from broker import policy
from broker.agent import Agent
from broker.broker import Broker
from broker.errors import Interrupted
from broker.events import Event, Progress
from broker.job import Job, Request, State
from broker.scripts import bundle
from broker.stop import Stop
from executors.base import Gone, Lost
from tests import fakework
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, let_go, notes, only_job, request, right
from tests.broker.test_attempt import Killed, drive_and, jobs_on
from tests.services.typed import FAKEWORK, environment, type_

Box = type[FaultyExecutor]
STEPS = 10
FIRST, REST = set(range(7)), set(range(7, STEPS))
ALL = FIRST | REST


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


@pytest.fixture
def once_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine, too, is tried only once."""
    monkeypatch.setattr(policy, "RUNS_HERE", 1)


def stepwise(folder: Path, contents: tuple[bytes, ...] = (b"one",), **choices: Any) -> Request:
    """A job in ten steps."""
    return request(folder, *contents, **{"steps": STEPS, "seconds": 0.0, **choices})


def killed_at_70(folder: Path, **choices: Any) -> Request:
    """One whose script is killed after seven of them, unless it has something to go on from."""
    return stepwise(folder, **{"trouble": "SIGKILL", **choices})


def made(broker: Broker, job: str, index: int = 0) -> list[set[int]]:
    """The steps of an item that each attempt's script says it made."""
    texts = [broker.journal.log(attempt) or "" for attempt in broker.journal.attempts(job)]
    return [{int(step) for step in re.findall(rf"made step-(\d+) of item {index}\n", text)} for text in texts]


def recorded(broker: Broker, job: str, index: int = 0) -> dict[int, int]:
    """The steps of an item that are checkpoints, and the attempt that made each."""
    found = broker.journal.checkpoints(job)
    return {int(one.name.removeprefix("step-")): by for one, by in found.items() if one.index == index}


def kept(broker: Broker, job: Job | None = None) -> list[Path]:
    """Files that are kept of a job, or of all."""
    folder = broker.journal.checkpoint_folder / (job.id if job else "")
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "scripts")


def reached(fraction: float) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Progress) and event.fraction >= fraction


def abandoned(broker: Broker, asked: Request) -> Job:
    """A job whose driver died when it had come half-way."""
    job = broker.submit(asked)
    driven = broker.drive(job, Stop())
    next(event for event in driven if reached(0.5)(event))
    with pytest.raises(Killed):
        driven.throw(Killed)  # type: ignore[attr-defined]
    return job


def failed_at_70(broker: Broker, folder: Path, **choices: Any) -> tuple[Request, Job]:
    """A job that has failed after seven steps, with `once_here`."""
    asked = killed_at_70(folder, on="local", **choices)
    with pytest.raises(Gone):
        drive(broker, asked)
    return asked, only_job(broker)


# From attempt to attempt


@pytest.mark.parametrize("on", ["local", "box,local"])
def test_a_script_killed_at_70_percent_leaves_30_to_the_next_attempt(
    on: str, box: Box, broker: Broker, tmp_path: Path
) -> None:
    asked = killed_at_70(tmp_path / "media", on=on)
    told = drive(broker, asked)
    assert right(asked)
    job = only_job(broker)
    assert [attempt.target for attempt in broker.journal.attempts(job.id)] == [on.partition(",")[0], "local"]
    assert made(broker, job.id) == [FIRST, REST]
    assert recorded(broker, job.id) == dict.fromkeys(FIRST, 1) | dict.fromkeys(REST, 2)
    (item,) = broker.receipt(job.id)["items"]
    assert item["checkpoints"] == [{"attempt": 1, "pieces": 7}, {"attempt": 2, "pieces": 3}]
    assert "going on from 7 finished pieces" in notes(told)


@pytest.mark.usefixtures("once_here")
def test_what_was_made_here_is_sent_where_it_lacks(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = killed_at_70(tmp_path / "media", on="local,box")
    drive(broker, asked)
    assert right(asked)
    job = only_job(broker)
    assert [attempt.target for attempt in broker.journal.attempts(job.id)] == ["local", "box"]
    assert made(broker, job.id) == [FIRST, REST]
    sent = {word.split("/")[1] for name, word, _ in box.asked if name == "put" and word.startswith("parts/")}
    pieces = {one.sha256 for one, by in broker.journal.checkpoints(job.id).items() if by == 1}
    assert sent == {job.items[0].sha256, *pieces}
    assert len(pieces) == len(FIRST)


def test_a_target_that_goes_silent_has_given_its_pieces_before(box: Box, broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold")
    asked = stepwise(tmp_path / "media", hold=str(hold))
    job = broker.submit(asked)
    drive_and(broker, job, Stop(), reached(0.7), lambda: box.faults.append(Fault("run", "events", Lost("box: gone"))))
    let_go(hold, 0)
    assert right(asked)
    before = {step for step, by in recorded(broker, job.id).items() if by == 1}
    assert before >= FIRST
    assert [attempt.target for attempt in broker.journal.attempts(job.id)] == ["box", "local"]
    assert made(broker, job.id)[1] == ALL - before


def test_each_item_goes_on_from_its_own_pieces(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = killed_at_70(tmp_path / "media", contents=(b"one", b"two"), on="box,local")
    drive(broker, asked)
    assert right(asked)
    job = only_job(broker)
    assert made(broker, job.id, 0) == [FIRST, REST, set()]
    assert made(broker, job.id, 1) == [set(), FIRST, REST]


# Drivers that are killed, and jobs that are typed again


@pytest.mark.parametrize("on", ["local", "box"])
def test_a_killed_driver_is_followed_by_one_that_makes_nothing_again(
    on: str, box: Box, broker: Broker, tmp_path: Path
) -> None:
    asked = stepwise(tmp_path / "media", on=on, seconds=1.0)
    job = abandoned(broker, asked)
    told = drive(broker, job)
    assert right(asked)
    assert made(broker, job.id) == [ALL]
    assert recorded(broker, job.id) == dict.fromkeys(ALL, 1)
    assert not [note for note in notes(told) if "going on from" in note]
    # It runs there with what it has made: nothing of that is sent back to it.
    sent = {word.split("/")[1] for name, word, _ in box.asked if name == "put" and word.startswith("parts/")}
    assert sent <= {job.items[0].sha256}


def test_a_command_that_is_killed_and_typed_again_makes_nothing_again(broker: Broker, tmp_path: Path) -> None:
    clip = tmp_path / "clip.dat"
    clip.write_bytes(b"one")
    hold = let_go(tmp_path / "hold")
    command = [*FAKEWORK, str(clip), "--steps", str(STEPS), "--hold", str(hold)]
    with Popen(command, env=environment(), stderr=DEVNULL) as killed:
        while len(kept(broker)) < 3:
            assert killed.poll() is None
            time.sleep(0.02)
        killed.kill()
    let_go(hold, 0)
    assert type_(command, tmp_path).code == 0
    assert clip.with_name("clip.worked.bin").read_bytes() == fakework.expected(b"one")
    assert made(broker, only_job(broker).id) == [ALL]
    assert kept(broker) == []


def test_a_target_that_lost_the_job_meanwhile_begins_with_what_is_here(
    box: Box, broker: Broker, tmp_path: Path
) -> None:
    asked = stepwise(tmp_path / "media", on="box", seconds=1.0)
    job = abandoned(broker, asked)
    before = set(recorded(broker, job.id))
    _lose_jobs(broker, "box")
    drive(broker, job)
    assert right(asked)
    assert len(before) >= 5
    assert made(broker, job.id) == [ALL - before]


def _lose_jobs(broker: Broker, target: str) -> None:
    """End what runs on a target, and delete it as if it had never been."""
    with broker.targets[target].executor() as executor:
        agent = Agent(executor, bundle(only_job(broker).script))
        for folder in jobs_on(broker, target):
            agent.cancel(folder.name, 0)
            agent.ack(folder.name)


def test_a_cancelled_job_that_is_retried_goes_on_from_its_pieces(broker: Broker, tmp_path: Path) -> None:
    asked = stepwise(tmp_path / "media", hold=str(let_go(tmp_path / "hold")))
    job, stop = broker.submit(asked), Stop()
    with pytest.raises(Interrupted):
        drive_and(broker, job, stop, reached(0.5), stop.request)
    before = set(recorded(broker, job.id))
    assert len(before) >= 5
    assert len(kept(broker, job)) == len(before)
    broker.reopen(only_job(broker))
    drive(broker, job)
    assert right(asked)
    assert made(broker, job.id)[1] == ALL - before


def test_who_stops_a_job_waits_for_no_more_pieces(broker: Broker, tmp_path: Path) -> None:
    job, stop, before = broker.submit(killed_at_70(tmp_path / "media")), Stop(), set[int]()

    def ask() -> None:
        stop.request()
        before.update(recorded(broker, job.id))

    with pytest.raises((Interrupted, Gone)):
        drive_and(broker, job, stop, reached(0.1), ask)
    assert set(recorded(broker, job.id)) == before


# Pieces that are not what they were


@pytest.mark.usefixtures("once_here")
def test_a_piece_that_is_missing_or_damaged_here_is_made_again(broker: Broker, tmp_path: Path) -> None:
    asked, job = failed_at_70(broker, tmp_path / "media")
    pieces = kept(broker, job)
    assert [path.name for path in pieces] == [f"step-{step}" for step in sorted(FIRST)]
    content = bytearray(pieces[2].read_bytes())
    content[100] ^= 1
    pieces[2].write_bytes(content)
    pieces[4].unlink()
    broker.reopen(job)
    drive(broker, job)
    assert right(asked)
    assert made(broker, job.id)[1] == REST | {2, 4}
    assert recorded(broker, job.id) == dict.fromkeys(FIRST - {2, 4}, 1) | dict.fromkeys(REST | {2, 4}, 2)


@pytest.mark.usefixtures("once_here")
def test_pieces_of_other_scripts_than_go_on_are_of_no_use(broker: Broker, tmp_path: Path) -> None:
    asked, job = failed_at_70(broker, tmp_path / "media")
    (broker.journal.checkpoint_folder / job.id / "scripts").write_text("an older version")
    broker.reopen(job)
    with pytest.raises(Gone):  # it is a fresh one again, which is killed again
        drive(broker, job)
    assert made(broker, job.id) == [FIRST, FIRST]
    assert recorded(broker, job.id) == dict.fromkeys(FIRST, 2)
    broker.reopen(job)
    drive(broker, job)
    assert right(asked)
    assert made(broker, job.id)[2] == REST


def test_a_piece_that_is_not_there_when_it_is_fetched_is_told_of_once(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = stepwise(tmp_path / "media", on="box", trouble="vanish")
    told = drive(broker, asked)
    assert right(asked)
    assert only_job(broker).state is State.DONE
    assert broker.journal.checkpoints(only_job(broker).id) == {}
    assert notes(told) == [f"checkpoint step-0 is not kept: box: {_where(broker)} is not there"]


def _where(broker: Broker) -> str:
    (attempt,) = broker.journal.attempts(only_job(broker).id)
    return f"jobs/{attempt.remote}/out/0/checkpoints/step-0"
