"""What a script runs with, as its target tells it: a receipt shows no more of it than makes sense."""

from __future__ import annotations

from typing import Any

import pytest

from broker.reports import MESSAGE_CHARS, MOST_VERSIONS, Versions, read


def told(versions: Any) -> Any:
    """What is believed of it; None where nothing is."""
    report = read({"type": "versions", "versions": versions}, 1)
    return report.versions if isinstance(report, Versions) else report


def test_versions_of_a_machine_with_a_gpu() -> None:
    known = {"torch": "2.5.1+cu121", "gpu": "Tesla T4", "gpu_memory_bytes": 16106127360, "share": 0.5, "own": True}
    assert told(known) == known


@pytest.mark.parametrize("value", [None, ["1"], {"a": "1"}, float("nan"), float("inf"), 2**63, -(10**400)])
def test_what_makes_no_sense_is_left_out_and_the_rest_stays(value: Any) -> None:
    assert told({"strange": value, "torch": "2.5"}) == {"torch": "2.5"}


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "a\x1b", "n" * 65])
def test_a_name_is_a_short_word(name: str) -> None:
    assert told({name: "1", "n" * 64: "2"}) == {"n" * 64: "2"}


def test_none_is_long_and_none_drives_a_terminal() -> None:
    assert told({"gpu": "T4\x1b[2J"}) == {"gpu": "T4 [2J"}
    assert len(told({"gpu": "x" * 10**5})["gpu"]) == MESSAGE_CHARS


def test_there_are_not_many() -> None:
    assert len(told({f"a{number}": "1" for number in range(MOST_VERSIONS + 1)})) == MOST_VERSIONS


@pytest.mark.parametrize("versions", ["1", 1, None, ["a", "1"]])
def test_what_is_no_table_was_never_said(versions: Any) -> None:
    assert told(versions) is None
