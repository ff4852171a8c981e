"""What all comparisons share: bytes first, and a service that says nothing more of its outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

import services
from services.base.compare import BLOCK, Level, Unreadable, compare, exactly
from tests.fakework import fake


def files(folder: Path, one: bytes, other: bytes) -> tuple[Path, Path]:
    (folder / "one").write_bytes(one)
    (folder / "other").write_bytes(other)
    return folder / "one", folder / "other"


@pytest.mark.parametrize("place", [0, 5, BLOCK - 1, BLOCK, BLOCK + 7])
def test_the_first_byte_that_differs_is_told(place: int, tmp_path: Path) -> None:
    data = bytes(BLOCK + 10)
    found = compare(*files(tmp_path, data, data[:place] + b"x" + data[place + 1 :]), fake.SERVICE.compare)
    assert (found.level, found.figures["first_difference"]) == (Level.DIFFERENT, place)
    assert f"from byte {place} on" in found.sentence


@pytest.mark.parametrize("length", [0, 3, BLOCK])
def test_one_that_is_cut_short_differs_where_it_ends(length: int, tmp_path: Path) -> None:
    found = compare(*files(tmp_path, bytes(BLOCK + 1), bytes(length)), exactly)
    assert (found.level, found.figures["first_difference"]) == (Level.DIFFERENT, length)


def test_equal_bytes_are_not_looked_at_more_closely(tmp_path: Path) -> None:
    def never(one: Path, other: Path) -> None:
        raise AssertionError

    found = compare(*files(tmp_path, b"same", b"same"), never)  # type: ignore[arg-type]
    assert (found.level, found.figures["bytes"]) == (Level.BYTES, 4)


def test_what_cannot_be_read_is_different(tmp_path: Path) -> None:
    def odd(one: Path, other: Path) -> None:
        raise Unreadable("the other is no clip")

    found = compare(*files(tmp_path, b"one", b"other"), odd)  # type: ignore[arg-type]
    assert (found.level, found.sentence) == (Level.DIFFERENT, "the other is no clip")


def test_levels_are_ordered() -> None:
    assert Level.BYTES > Level.FRAMES > Level.CLOSE > Level.DIFFERENT
    assert [str(level) for level in Level] == ["different", "close", "frames", "bytes"]


@pytest.mark.parametrize("name", services.names())
def test_every_service_says_how_its_outputs_are_compared(name: str) -> None:
    service = services.find(name)
    assert service.compare is not exactly
    assert Level[service.contract.upper()] in (Level.BYTES, Level.CLOSE)
