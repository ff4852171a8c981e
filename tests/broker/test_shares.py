"""How items are shared among targets, and what an idle one takes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.events import Progress, Published
from broker.plan import Candidate
from broker.shares import Hand, divide, take_over
from broker.stop import Stop
from broker.targets import Target
from executors.base import Probe

WORK = {0: 4.0, 1: 1.0, 2: 3.0, 3: 2.0, 4: 2.0}


def ends(shares: list[list[int]], amounts: dict[int, float], paces: list[float]) -> float:
    return max(
        sum(amounts[index] for index in share) * pace for share, pace in zip(shares, paces, strict=True) if share
    )


def test_equal_targets_have_equal_work() -> None:
    shares = divide(WORK, [1.0, 1.0])
    assert [sum(WORK[index] for index in share) for share in shares] == [6.0, 6.0]
    assert sorted(shares[0] + shares[1]) == [0, 1, 2, 3, 4]


def test_a_faster_target_has_more_of_it() -> None:
    fast, slow = divide(WORK, [1.0, 3.0])
    assert sum(WORK[index] for index in fast) > 2 * sum(WORK[index] for index in slow) > 0


def test_one_that_is_too_slow_to_help_has_none() -> None:
    assert divide(WORK, [1.0, 100.0]) == [[0, 1, 2, 3, 4], []]


@given(
    st.dictionaries(st.integers(0, 30), st.floats(0.5, 100), min_size=1, max_size=12),
    st.lists(st.floats(0.1, 10), min_size=1, max_size=4),
)
def test_all_items_are_shared_once_and_sooner_done_than_by_the_fastest_alone(
    amounts: dict[int, float], paces: list[float]
) -> None:
    shares = divide(amounts, paces)
    assert sorted(index for share in shares for index in share) == sorted(amounts)
    assert ends(shares, amounts, paces) <= min(paces) * sum(amounts.values()) * 1.0001


def at(pace: float) -> Callable[[Sequence[int]], float]:
    return lambda items: pace * len(items)


def test_an_idle_target_takes_over_from_the_end_until_both_are_done_together() -> None:
    amounts = dict.fromkeys(range(10), 1.0)
    assert take_over(range(10), amounts, 10.0, at(1.0)) == [9, 8, 7, 6, 5]
    assert take_over(range(10), amounts, 10.0, at(0.25)) == [9, 8, 7, 6, 5, 4, 3, 2]
    assert take_over(range(10), amounts, 10.0, at(9.5)) == []


def test_the_last_item_of_a_straggler_is_done_twice_by_who_is_much_faster() -> None:
    assert take_over([7], {7: 2.0}, 60.0, at(2.0)) == [7]
    assert take_over([7], {7: 2.0}, 2.1, at(2.0)) == []


def test_who_did_one_large_item_is_not_taken_to_do_small_ones_in_no_time(clock: Clock) -> None:
    candidate = Candidate(Target("box", "local", {}), Probe(True), "", 0)
    box = Hand(candidate, {0: 3_000_000.0, 1: 20_000.0, 2: 20_000.0}, clock)
    box.begin([0], Stop())
    clock.now += 3
    box.note(Published(0, (), {}))
    assert box.takes([1, 2]) == 6.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hand(clock: Clock, **amounts: Any) -> Hand:
    candidate = Candidate(Target("box", "local", {}), Probe(True), "", 0)
    return Hand(candidate, dict.fromkeys(range(4), 2.0), clock)


def test_a_hand_learns_its_pace_from_what_it_has_done(clock: Clock) -> None:
    box = hand(clock)
    box.begin([0, 1, 2, 3], Stop())
    clock.now += 10
    box.note(Published(0, (), {}))
    assert box.pace == 5.0
    assert box.left([1, 2, 3]) == 30.0
    clock.now += 4
    assert box.left([1, 2, 3]) == 26.0


def test_what_is_left_of_the_item_at_hand_is_what_its_script_says(clock: Clock) -> None:
    box = hand(clock)
    box.begin([0, 1], Stop())
    clock.now += 10
    box.note(Published(0, (), {}))
    box.note(Progress(1, 0.1, 1.0, eta=90.0))
    assert box.left([1]) == 90.0


def test_a_straggler_that_says_nothing_may_be_at_it_for_as_long_again(clock: Clock) -> None:
    box = hand(clock)
    box.begin([0, 1], Stop())
    clock.now += 10
    box.note(Published(0, (), {}))
    clock.now += 500
    assert box.left([1]) == 500.0
