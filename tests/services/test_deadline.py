"""Deadlines: what may be typed, and that it can be typed again."""

from __future__ import annotations

import time

import click
import pytest

from services.base.command import _given, command
from services.base.deadline import DEADLINE
from services.stabilize import SERVICE


def moment(word: str) -> float:
    return DEADLINE.convert(word, None, None)


@pytest.mark.parametrize("word", ["9:30", "09:30", "0:05", "18:30", "18:30:15"])
def test_a_time_of_day_is_the_next_one(word: str) -> None:
    clock = [int(part) for part in [*word.split(":"), "0"][:3]]
    found = time.localtime(moment(word))
    assert [found.tm_hour, found.tm_min, found.tm_sec] == clock
    assert 0 <= moment(word) - time.time() <= 25 * 3600  # a day may have 25 hours


def test_a_span_is_from_now() -> None:
    assert moment("90min") == pytest.approx(time.time() + 5400, abs=30)


@pytest.mark.parametrize("word", ["9", "9:3", "99:30", "x:30", "1790000000.5"])
def test_what_is_no_time_is_refused(word: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        moment(word)


@pytest.mark.parametrize("word", ["9:30", "2h", "90min"])
def test_the_command_says_it_as_it_was_typed_and_so_it_can_be_typed_again(word: str) -> None:
    verb = command(SERVICE)
    given = [*_given(verb.make_context("stabilize", ["--deadline", word, "clip.mp4"]))]
    assert given == [f"--deadline={word}"]
    again = verb.make_context("stabilize", [*given, "clip.mp4"])
    assert again.params["deadline"] > time.time()
