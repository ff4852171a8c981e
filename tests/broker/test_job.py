"""States of a job, and the name under which a request finds its unfinished job."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from broker.broker import Broker
from broker.errors import EXIT_CODES, OffloadError, batch_exit_code
from broker.job import NEXT, FileId, Input, Item, Output, Request, State, resume_key, verdict
from tests.broker.jobs import ledger, request

WAYS = {
    State.QUEUED: [],
    State.RUNNING: [State.RUNNING],
    **{over: [State.RUNNING, over] for over in (State.DONE, State.PARTLY, State.FAILED, State.CANCELLED)},
}


def test_what_is_over_stays_over_unless_it_is_asked_for_again() -> None:
    over = {State.DONE, State.PARTLY, State.FAILED, State.CANCELLED}
    assert {state for state in State if state.over} == over
    assert {after for state in over for after in NEXT[state]} == {State.QUEUED}
    assert NEXT[State.DONE] == set()


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_only_the_steps_of_the_table_can_be_taken(before: State, after: State, broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one"))
    for state in WAYS[before]:
        ledger(broker.journal, job.id).advance(state)
    if after in NEXT[before]:
        ledger(broker.journal, job.id).advance(after)
        assert broker.journal.job(job.id).state is after
        return
    with pytest.raises(OffloadError, match=f"is {before} and cannot become {after}"):
        ledger(broker.journal, job.id).advance(after)
    assert broker.journal.job(job.id).state is before


def item(kind: str | None = None, *states: str) -> Item:
    outputs = tuple(Output(f"{n}.bin", Path(f"/{n}"), state=state) for n, state in enumerate(states))
    return Item(0, Path("/in"), FileId(1, 2, 3), "0" * 64, {}, outputs, kind)


def test_an_item_is_done_once_all_its_outputs_are_published() -> None:
    assert item(None, "published", "published").done
    assert not item(None, "published", "intent").done
    assert item(None, "published", "intent").open
    assert not item("failed", "planned").open


def test_the_verdict_counts_failures() -> None:
    good, bad = item(None, "published"), item("failed", "planned")
    assert verdict((good, good)) is State.DONE
    assert verdict((good, bad)) is State.PARTLY
    assert verdict((bad, bad)) is State.FAILED


def asked(**changes: object) -> Request:
    entry = Input(Path("/a.dat"), {"worked.bin": Path("/a.bin")}, {"container": "mp4"})
    return replace(Request("fake", Path("/work.py"), {"seconds": 1}, (entry,)), **changes)  # type: ignore[arg-type]


def test_the_same_request_has_the_same_key() -> None:
    assert resume_key(asked(), ["a"], "s") == resume_key(asked(params={"seconds": 1}), ["a"], "s")
    moved = Input(Path("/elsewhere.dat"), {"worked.bin": Path("/a.bin")}, {"container": "mp4"})
    assert resume_key(asked(), ["a"], "s") == resume_key(asked(inputs=(moved,)), ["a"], "s")


@pytest.mark.parametrize(
    ("changes", "sha256", "scripts"),
    [
        ({"service": "other"}, "a", "s"),
        ({"params": {"seconds": 2}}, "a", "s"),
        ({"on": "local"}, "a", "s"),
        ({"inputs": (Input(Path("/a.dat"), {"worked.bin": Path("/b.bin")}, {"container": "mp4"}),)}, "a", "s"),
        ({"inputs": (Input(Path("/a.dat"), {"worked.bin": Path("/a.bin")}, {}),)}, "a", "s"),
        ({}, "b", "s"),
        ({}, "a", "t"),
    ],
)
def test_another_request_has_another_key(changes: dict[str, object], sha256: str, scripts: str) -> None:
    assert resume_key(asked(**changes), [sha256], scripts) != resume_key(asked(), ["a"], "s")


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ([], 0),
        ([None], 0),
        ([None, None], 0),
        (["bad_input"], 3),
        (["missing"], 4),
        (["lost"], 5),
        (["failed"], 6),
        (["limit"], 8),
        (["memory"], 8),
        (["limit", "memory"], 8),
        (["integrity"], 9),
        (["cancelled"], 130),
        (["bad_input", "bad_input"], 3),
        (["bad_input", "limit"], 6),
        ([None, "bad_input"], 101),
        (["bad_input", None, "limit"], 101),
    ],
)
def test_the_exit_code_of_a_batch(kinds: list[str | None], code: int) -> None:
    assert batch_exit_code(kinds) == code


def test_every_kind_has_an_exit_code_of_the_documented_ones() -> None:
    assert set(EXIT_CODES.values()) <= {3, 4, 5, 6, 8, 9, 130}
