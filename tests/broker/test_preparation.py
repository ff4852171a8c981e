"""The preparation: what the job works on is made here, once, wherever the job then runs."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.broker import Broker
from broker.errors import Interrupted, JobFailed, LimitError
from broker.events import ItemFailed, Progress, Published, Started
from broker.job import Preparation, Request, State
from broker.payloads import Payloads
from broker.stop import Stop
from executors.base import Gone
from tests import fakework
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, only_job, request
from tests.broker.test_attempt import Killed
from tests.processes import of_job

Box = type[FaultyExecutor]
SCRIPT = Path(__file__).parents[1] / "fakework" / "shorten.py"
SHORT = 5


def prepared(folder: Path, *contents: bytes, preparation: dict[str, Any] | None = None, **choices: Any) -> Request:
    asked = request(folder, *contents, **choices)
    return replace(asked, prepare=Preparation(SCRIPT.resolve(), {"bytes": SHORT, **(preparation or {})}))


def made(asked: Request, number: int = 0) -> bytes:
    return asked.inputs[number].outputs["worked.bin"].read_bytes()


def right(asked: Request) -> bool:
    """Whether the outputs are made of the inputs' first bytes."""
    return all(
        made(asked, number) == fakework.expected(entry.source.read_bytes()[:SHORT])
        for number, entry in enumerate(asked.inputs)
    )


def tries(broker: Broker) -> list[tuple[str, bool, str]]:
    attempts = broker.receipt(only_job(broker).id)["attempts"]
    return [(attempt["target"], attempt["prepares"], attempt["state"]) for attempt in attempts]


def payloads(broker: Broker) -> list[Path]:
    return [path for path in (broker.settings.cache_dir / "prepared").glob("*/*") if path.is_file()]


PREPARED, HERE, THERE = ("local", True, "done"), ("local", False, "done"), ("box", False, "done")


def test_the_job_works_on_what_was_prepared(broker: Broker, tmp_path: Path) -> None:
    asked = prepared(tmp_path / "media", b"one two three", b"four five six")
    told = drive(broker, asked)
    assert right(asked)
    assert tries(broker) == [PREPARED, HERE]
    assert [event.target for event in told if isinstance(event, Started)] == ["local", "local"]


def test_it_is_made_here_and_no_more_than_that_travels(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = prepared(tmp_path / "media", b"one" * 100_000, on="box")
    drive(broker, asked)
    assert right(asked)
    assert tries(broker) == [PREPARED, THERE]
    sent = [size for operation, path, size in box.asked if operation == "put" and path.startswith("parts/")]
    assert sent == [SHORT]


def test_the_receipt_tells_both_sizes(box: Box, broker: Broker, tmp_path: Path) -> None:
    drive(broker, prepared(tmp_path / "media", b"one" * 1000, on="box"))
    (item,) = broker.receipt(only_job(broker).id)["items"]
    assert item["size"] == 3000
    assert (item["payload"]["name"], item["payload"]["size"]) == ("short.dat", SHORT)


def test_the_next_job_finds_it_made(broker: Broker, tmp_path: Path) -> None:
    drive(broker, prepared(tmp_path / "media", b"one two three"))
    shutil.rmtree(tmp_path / "media")
    asked = prepared(tmp_path / "media", b"one two three", size=100)
    drive(broker, asked)
    assert [one["prepares"] for one in broker.receipt(broker.journal.jobs()[0].id)["attempts"]] == [False]
    assert made(asked) == fakework.expected(b"one t", 100)


@pytest.mark.parametrize(
    "other",
    [{"preparation": {"bytes": 4}}, {"content": b"one two four"}],
    ids=["another preparation", "another input"],
)
def test_but_not_of_anything_else(broker: Broker, tmp_path: Path, other: dict[str, Any]) -> None:
    content = other.pop("content", b"one two three")
    drive(broker, prepared(tmp_path / "media", b"one two three"))
    drive(broker, prepared(tmp_path / "others", content, **other))
    assert all(one["attempts"][0]["prepares"] for one in map(broker.receipt, [job.id for job in broker.journal.jobs()]))


def test_a_cache_that_was_emptied_in_the_middle_is_filled_again(broker: Broker, tmp_path: Path) -> None:
    asked = prepared(tmp_path / "media", b"one two three", trouble="exit")
    with pytest.raises(JobFailed):
        drive(broker, asked)
    shutil.rmtree(broker.settings.cache_dir / "prepared")
    broker.reopen(only_job(broker))
    with pytest.raises(JobFailed):
        drive(broker, only_job(broker))
    assert [prepares for _, prepares, _ in tries(broker)] == [True, False, True, False]


def test_one_that_is_damaged_in_the_cache_is_made_again(broker: Broker, tmp_path: Path) -> None:
    drive(broker, prepared(tmp_path / "media", b"one two three"))
    (payload,) = payloads(broker)
    payload.chmod(0o600)
    payload.write_bytes(b"on")
    asked = prepared(tmp_path / "others", b"one two three")
    drive(broker, asked)
    assert right(asked)


def test_one_with_a_flipped_bit_is_made_again(broker: Broker, tmp_path: Path) -> None:
    drive(broker, prepared(tmp_path / "media", b"one two three"))
    (payload,) = payloads(broker)
    payload.chmod(0o600)
    payload.write_bytes(b"One t")
    asked = prepared(tmp_path / "others", b"one two three")
    drive(broker, asked)
    assert right(asked)


@pytest.mark.parametrize("target", ["box", "local"])
def test_what_goes_away_before_it_is_sent_is_made_again_and_the_input_never_travels(
    target: str, box: Box, broker: Broker, tmp_path: Path
) -> None:
    asked = prepared(tmp_path / "media", b"one" * 1000, on="box,local")
    if target == "local":  # where the job goes on, after the first target is lost in the middle
        box.faults.append(Fault("run", "events", Gone("box: gone")))
    job, gone = broker.submit(asked), False
    for event in broker.drive(job, Stop()):
        if isinstance(event, Started) and event.target == target and "preparing" not in event.reason and not gone:
            shutil.rmtree(broker.settings.cache_dir / "prepared")
            gone = True
    assert right(asked)
    sent = {size for operation, path, size in box.asked if operation == "put" and path.startswith("parts/")}
    assert sent == {SHORT}


def test_one_that_is_used_again_stays_and_an_old_one_goes(broker: Broker, tmp_path: Path) -> None:
    drive(broker, prepared(tmp_path / "media", b"one two three"))
    kept = Payloads(broker.settings.cache_dir / "prepared", broker.journal)
    for entry in kept.folder.iterdir():
        os.utime(entry, (1, 1))
    drive(broker, prepared(tmp_path / "others", b"one two three"))
    kept.sweep(days=1)
    assert len(payloads(broker)) == 1
    for entry in kept.folder.iterdir():
        os.utime(entry, (1, 1))
    kept.sweep(days=1)
    assert not list(kept.folder.iterdir())


def test_where_it_cannot_be_kept_that_is_said(broker: Broker, tmp_path: Path) -> None:
    folder = broker.settings.cache_dir / "prepared"
    folder.write_text("no folder")
    with pytest.raises(LimitError, match=rf"0.dat cannot be kept in {folder}"):
        drive(broker, prepared(tmp_path / "media", b"one two three"))


def test_an_input_that_cannot_be_prepared_fails_alone(broker: Broker, tmp_path: Path) -> None:
    asked = prepared(tmp_path / "media", b"one two three", b"!bad_input", b"!limit")
    told = drive(broker, asked)
    assert [(event.index, event.kind) for event in told if isinstance(event, ItemFailed)] == [
        (1, "bad_input"),
        (2, "limit"),
    ]
    assert [event.index for event in told if isinstance(event, Published)] == [0]
    assert only_job(broker).state is State.PARTLY


def test_where_none_can_be_prepared_nothing_more_is_tried(broker: Broker, tmp_path: Path) -> None:
    drive(broker, prepared(tmp_path / "media", b"!bad_input"))
    assert tries(broker) == [PREPARED]
    assert only_job(broker).state is State.FAILED


def test_one_that_is_killed_is_tried_once_more(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(Gone, match="killed by signal 9"):
        drive(broker, prepared(tmp_path / "media", b"one two three", preparation={"trouble": "killed"}))
    assert tries(broker) == [("local", True, "lost")] * 2
    assert only_job(broker).state is State.FAILED


def test_one_that_announces_two_files_is_refused(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="something else than one file"):
        drive(broker, prepared(tmp_path / "media", b"one two three", preparation={"trouble": "two"}))
    assert not payloads(broker)


def test_stopped_while_it_prepares_nothing_is_left(broker: Broker, tmp_path: Path) -> None:
    asked = prepared(tmp_path / "media", b"one two three", preparation={"hold": str(tmp_path / "nowhere")})
    stop = Stop()
    job = broker.submit(asked)
    with pytest.raises(Interrupted):
        for event in broker.drive(job, stop):
            if isinstance(event, Progress):
                stop.request()
    assert tries(broker) == [("local", True, "cancelled")]
    assert not of_job(f"{job.id}p01")
    assert not payloads(broker)
    assert not list((broker.settings.cache_dir / "local/jobs").iterdir())


def test_a_driver_that_was_killed_meanwhile_is_followed_by_one_that_goes_on(broker: Broker, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    asked = prepared(tmp_path / "media", b"one two three", preparation={"hold": str(hold)})
    driven = broker.drive(broker.submit(asked), Stop())
    assert any(isinstance(event, Progress) for event in driven)
    with pytest.raises(Killed):
        driven.throw(Killed)  # type: ignore[attr-defined]
    hold.mkdir()
    (hold / "0").touch()
    drive(broker, only_job(broker))
    assert right(asked)
    assert tries(broker) == [PREPARED, HERE]


# Where memory does not suffice


def eased(folder: Path, trouble: str, **choices: Any) -> Request:
    """A job with a model: only the script of such a one can do with less memory."""
    model = folder.with_name("model.bin")
    model.write_bytes(b"weights")
    return replace(request(folder, b"one", trouble=trouble, **choices), models={"model": f"path:{model}"})


def reasons(broker: Broker) -> list[tuple[str, str, str]]:
    attempts = broker.receipt(only_job(broker).id)["attempts"]
    return [(attempt["target"], attempt["state"], attempt["reason"]) for attempt in attempts]


@pytest.mark.parametrize("on", ["local", "box"])
def test_it_is_done_there_in_smaller_batches(on: str, box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = eased(tmp_path / "media", "memory below 1", on=on)
    drive(broker, asked)
    assert [(target, state) for target, state, _ in reasons(broker)] == [(on, "lost"), (on, "done")]
    assert "smaller batches" in reasons(broker)[1][2]


def test_then_without_a_gpu_then_by_the_next_target(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = eased(tmp_path / "media", "memory on box")
    drive(broker, asked)
    assert [(target, state) for target, state, _ in reasons(broker)] == [
        ("box", "lost"),
        ("box", "lost"),
        ("box", "lost"),
        ("local", "done"),
    ]
    assert "on the processor alone" in reasons(broker)[2][2]


def test_where_it_never_suffices_the_item_fails(broker: Broker, tmp_path: Path) -> None:
    told = drive(broker, eased(tmp_path / "media", "memory below 9"))
    assert [(event.index, event.kind) for event in told if isinstance(event, ItemFailed)] == [(0, "memory")]
    assert len(reasons(broker)) == 3
    assert broker.journal.ending(only_job(broker).id).exit_code == LimitError.exit_code


def test_a_job_without_models_does_not_try_the_same_again(broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one", trouble="memory below 9"))
    assert len(reasons(broker)) == 1
    assert only_job(broker).state is State.FAILED


def test_one_that_needs_too_much_does_not_take_the_others_with_it(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"!memory", b"two", b"three")
    drive(broker, asked)
    job = only_job(broker)
    assert [item.kind for item in job.items] == ["memory", None, None]
    assert [item.done for item in job.items] == [False, True, True]
    assert job.state is State.PARTLY
