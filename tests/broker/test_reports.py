"""What a script reports is believed only as far as it makes sense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.events import ItemFailed, Note, Progress
from broker.reports import MESSAGE_CHARS, READERS, Checkpoint, Done, Versions, plain, read

SHA = "a" * 64
FILES = [{"name": "worked.bin", "size": 3, "sha256": SHA}]
PIECE = {"type": "checkpoint", "index": 1, "name": "segment-07_b", "size": 3, "sha256": SHA}


@pytest.mark.parametrize(
    ("event", "report"),
    [
        ({"type": "progress", "index": 1, "fraction": 0.5, "speed": 2, "eta": 3}, Progress(1, 0.5, 2.0, 3.0)),
        ({"type": "progress", "index": 1, "fraction": 7}, Progress(1, 1.0, 0.0, 0.0)),
        ({"type": "log", "message": "hi", "index": 0}, Note("hi", 0)),
        ({"type": "log", "message": "hi"}, Note("hi", None)),
        ({"type": "versions", "versions": {"a": "1"}}, Versions({"a": "1"})),
        (PIECE, Checkpoint(1, "segment-07_b", 3, SHA)),
        (
            {"type": "item_done", "index": 0, "files": FILES, "measured": {"x": 1}},
            Done(0, {"worked.bin": (3, SHA)}, {"x": 1}),
        ),
        ({"type": "item_failed", "index": 0, "kind": "limit", "error": "big"}, ItemFailed(0, "limit", "big")),
        ({"type": "item_failed", "index": 0, "kind": "strange", "error": "?"}, ItemFailed(0, "failed", "?")),
    ],
)
def test_what_the_contract_says_is_understood(event: dict[str, Any], report: object) -> None:
    assert read(event, 2) == report


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "unknown"},
        {"type": ["progress"]},
        {"type": "progress", "index": 2, "fraction": 0.5},
        {"type": "progress", "index": -1, "fraction": 0.5},
        {"type": "progress", "index": "0", "fraction": 0.5},
        {"type": "progress", "index": True, "fraction": 0.5},
        {"type": "progress", "index": None, "fraction": 0.5},
        {"type": "progress", "index": 0, "fraction": "half"},
        {"type": "progress", "index": 0, "fraction": float("nan")},
        {"type": "progress", "index": 0},
        {"type": "log", "message": "hi", "index": 99},
        {"type": "versions", "versions": "1"},
        {**PIECE, "index": 2},
        {**PIECE, "index": None},
        {**PIECE, "name": "../segment"},
        {**PIECE, "name": "Segment"},
        {**PIECE, "name": ".segment"},
        {**PIECE, "name": "segment\n"},
        {**PIECE, "name": ""},
        {**PIECE, "name": "s" * 65},
        {**PIECE, "name": 7},
        {**PIECE, "size": -1},
        {**PIECE, "size": "3"},
        {**PIECE, "sha256": SHA.upper()},
        {"type": "checkpoint", "index": 1, "size": 3, "sha256": SHA},
        {"type": "item_done", "index": 0, "files": [{"name": "a", "size": -1, "sha256": SHA}]},
        {"type": "item_done", "index": 0, "files": [{"name": "a", "size": 1, "sha256": "../" + SHA}]},
        {"type": "item_done", "index": 0, "files": [{"name": "a", "size": 1}]},
        {"type": "item_done", "index": 0, "files": 3},
        {"type": "item_done", "files": FILES},
        {"type": "item_failed", "index": 0, "kind": ["failed"], "error": ""},
    ],
)
def test_what_makes_no_sense_was_never_said(event: dict[str, Any]) -> None:
    assert read(event, 2) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("index", "fraction", "speed", "eta", "message", "versions", "files", "measured", "kind", "error", *PIECE)


@given(st.sampled_from([*READERS, "other"]), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_nothing_a_script_says_is_an_error_here(kind: str, fields: dict[str, Any]) -> None:
    report = read({**fields, "type": kind}, 2)
    assert getattr(report, "index", None) in (None, 0, 1)


def test_no_message_drives_a_terminal() -> None:
    assert plain("a\x1b[2J\r\nb\x07\u202e\x9b") == "a [2J  b   "
    assert plain("ünï 日本") == "ünï 日本"
    assert len(plain("x" * 10**6)) == MESSAGE_CHARS
