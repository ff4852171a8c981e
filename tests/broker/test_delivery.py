"""What a script delivers: what it may say, of which inputs a result is published, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.broker import Broker
from broker.events import ItemFailed, Published
from broker.job import State
from broker.stop import Stop
from tests import fakework
from tests.broker.jobs import drive, notes, only_job, request, right
from tests.broker.test_attempt import Box, drive_and, is_progress

# What a script says


def test_noise_is_no_event_and_goes_to_the_log(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", noise=True)
    told = drive(broker, asked)
    assert right(asked)
    assert notes(told) == ["hello"]
    log = broker.journal.log(broker.journal.attempts(only_job(broker).id)[0])
    assert "a warning" in (log or "")


def test_control_characters_of_a_script_do_not_reach_the_terminal(broker: Broker, tmp_path: Path) -> None:
    told = drive(broker, request(tmp_path / "media", b"one", trouble="log"))
    assert notes(told) == ["look:  [2J made up line"]


def test_nonsense_is_not_heard(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", trouble="nonsense")
    told = drive(broker, asked)
    assert right(asked)
    assert notes(told) == []
    (attempt,) = broker.journal.attempts(only_job(broker).id)
    assert attempt.versions["fakework"] == "1"


@pytest.mark.parametrize("on", ["local", "box"])
def test_an_output_nobody_asked_for_is_left_where_it_is(on: str, box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", on=on, trouble="extra")
    drive(broker, asked)
    assert right(asked)
    assert not list(tmp_path.rglob("extra.bin"))


def test_indexes_hold_when_some_items_are_done_already(box: Box, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"!failed", b"three", b"four")
    told = drive(broker, asked)
    assert sorted(event.index for event in told if isinstance(event, Published)) == [0, 2, 3]
    for index, content in ((0, b"one"), (2, b"three"), (3, b"four")):
        assert (tmp_path / "media" / f"{index}.worked.bin").read_bytes() == fakework.expected(content)


# Changed inputs


def test_a_result_of_an_input_that_changed_meanwhile_is_not_published(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", b"two", seconds=0.3)
    job = broker.submit(asked)
    told = drive_and(broker, job, Stop(), is_progress, lambda: asked.inputs[1].source.write_bytes(b"new"))
    (failed,) = [event for event in told if isinstance(event, ItemFailed)]
    assert (failed.index, failed.kind) == (1, "bad_input")
    assert "changed while the job was under way" in failed.error
    assert not (tmp_path / "media" / "1.worked.bin").exists()
    assert only_job(broker).state is State.PARTLY


def test_inputs_that_changed_before_are_refused_before_anything_runs(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    job = broker.submit(asked)
    asked.inputs[0].source.write_bytes(b"changed")  # in length, too: its time may be that of a moment ago
    told = drive(broker, job)
    assert [event.kind for event in told if isinstance(event, ItemFailed)] == ["bad_input"]
    assert only_job(broker).state is State.FAILED


# A destination somebody took meanwhile


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_destination_taken_meanwhile(overwrite: bool, broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one", seconds=0.3, overwrite=overwrite)
    job, dest = broker.submit(asked), asked.inputs[0].outputs["worked.bin"]
    told = drive_and(broker, job, Stop(), is_progress, lambda: dest.write_bytes(b"theirs"))
    (published,) = [event for event in told if isinstance(event, Published)]
    (path,) = published.paths
    assert path.read_bytes() == fakework.expected(b"one")
    if overwrite:
        assert path == dest
        assert notes(told) == []
    else:
        assert dest.read_bytes() == b"theirs"
        assert path == dest.with_name(f"0.worked.{job.id}.bin")
        assert any("was left alone" in line and str(path) in line for line in notes(told))
        assert broker.receipt(job.id)["items"][0]["outputs"][0]["path"] == str(path)
