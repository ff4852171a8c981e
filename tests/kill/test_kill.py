"""Killing anything at any moment loses nothing, doubles nothing, and leaves nothing behind."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.kill.rounds import HANGS, POLITE, Round, Tally, play

AT_A_TIME = 2
SEED = 20_000
"""Rounds are seeded by it and their number: the seed stands in the name of a round that failed."""


@pytest.fixture(scope="module")
def span(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that an undisturbed round takes."""
    undisturbed = Round(tmp_path_factory.mktemp("undisturbed"), Random(SEED))
    started = time.monotonic()
    assert undisturbed.start().wait(HANGS) == 0
    took = time.monotonic() - started
    undisturbed.check_done()
    assert not undisturbed.tally.troubles
    return took


def loop(folder: Path, role: str, rounds: int, span: float) -> Tally:
    tally = Tally()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for one in pool.map(lambda seed: play(folder, seed, role, span), range(SEED, SEED + rounds)):
            tally.add(one)
    print(f"\n{role}, seeds from {SEED}: {tally}")
    return tally


@pytest.mark.parametrize("role", ["command", "runner", "script"])
def test_ten_kills(role: str, span: float, tmp_path: Path) -> None:
    assert loop(tmp_path, role, 10, span).troubles == []


@pytest.mark.soak
@pytest.mark.parametrize("role", ["command", "runner", "script"])
def test_three_hundred_kills(role: str, span: float, tmp_path: Path) -> None:
    assert loop(tmp_path, role, 300, span).troubles == []


@pytest.mark.parametrize("number", sorted(POLITE))
def test_a_signal_at_work_stops_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    stopped = Round(tmp_path, Random(SEED), seconds=45)
    stopped.stop_midway(number)
    assert stopped.tally.troubles == []


@pytest.mark.parametrize(("after", "between"), [(0.8, 0.3), (0.9, 0.01), (1.2, 0.1)])
def test_two_interrupts_stop_at_once_and_leave_nothing(after: float, between: float, tmp_path: Path) -> None:
    twice = Round(tmp_path, Random(SEED), seconds=30)
    twice.interrupt_twice(after, between)
    assert twice.tally.troubles == []


def test_a_tally_tells_trouble() -> None:
    tally = Tally(1, lost=["one"])
    tally.add(Tally(2, partial=["two"]))
    assert str(tally) == "kill loops: 3 rounds, lost 1, doubled 0, partial 1, leftover 0"
    assert tally.troubles == ["one", "two"]
