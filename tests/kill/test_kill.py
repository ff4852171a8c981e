"""Killing anything at any moment loses nothing, doubles nothing, and leaves nothing behind."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.executors.sshd import needs_sshd
from tests.kill.attended import Attended
from tests.kill.roles import GAMES, play, undisturbed
from tests.kill.rounds import POLITE
from tests.kill.tally import Tally

SEED = 20_000
"""Rounds are seeded by it and their number: the seed stands in the name of a round that failed."""

roles = pytest.mark.parametrize(
    "role", [pytest.param(role, marks=needs_sshd) if role == "sshd" else role for role in GAMES]
)


def loop(folder: Path, role: str, kills: int, at_a_time: int) -> None:
    """Play a role until there were so many kills."""
    tally = Tally()
    with ThreadPoolExecutor(at_a_time) as pool:
        span = max(pool.map(lambda number: undisturbed(folder, number, role), range(at_a_time)))
        for one in pool.map(lambda seed: play(folder, seed, role, span), range(SEED, SEED + kills)):
            tally.add(one)
    print(f"\n{role}, seeds from {SEED}, moments within {span:.1f} s: {tally}", flush=True)
    assert tally.troubles == []
    assert tally.struck == kills


@roles
def test_five_kills(role: str, tmp_path: Path) -> None:
    loop(tmp_path, role, 5, at_a_time=2)


@pytest.mark.soak
@roles
def test_three_hundred_kills(role: str, tmp_path: Path) -> None:
    loop(tmp_path, role, 300, at_a_time=6)


@pytest.mark.parametrize("number", sorted(POLITE))
def test_a_signal_at_work_stops_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    stopped = Attended(tmp_path, Random(SEED), seconds=45)
    stopped.stop_midway(number)
    assert stopped.tally.troubles == []


@pytest.mark.parametrize(("after", "between"), [(0.8, 0.3), (0.9, 0.01), (1.2, 0.1)])
def test_two_interrupts_stop_at_once_and_leave_nothing(after: float, between: float, tmp_path: Path) -> None:
    twice = Attended(tmp_path, Random(SEED), seconds=30)
    twice.interrupt_twice(after, between)
    assert twice.tally.troubles == []


def test_a_tally_tells_trouble() -> None:
    tally = Tally(1, lost=["one"])
    tally.add(Tally(2, struck=1, partial=["two"]))
    said = "kill loops: 3 rounds, 1 struck, lost / doubled / partial / leftover = 1 / 0 / 1 / 0"
    assert str(tally) == said
    assert tally.troubles == ["one", "two"]
