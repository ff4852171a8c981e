"""A command that is stopped past its lease and goes on later: exactly one result, whenever that was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.kill.rounds import Round, Tally

AT_A_TIME = 2
SEED = 30_000
SPAN = 1.6
"""Seconds that an undisturbed round takes on an idle machine: moments after it are of less interest."""
LEASE_SECONDS = 1.0


def pause(folder: Path, seed: int) -> tuple[Tally, bool]:
    """One round: every other time the second command comes at once, and has to wait for the lease to end."""
    random = Random(seed)
    game = Round(folder / f"pause-{seed}", random, lease_seconds=LEASE_SECONDS)
    overtaken = game.pause_command(random.uniform(0.2, SPAN), seed % 2 * 1.2 * LEASE_SECONDS)
    return game.tally, overtaken


def loop(folder: Path, rounds: int) -> Tally:
    tally, overtaken = Tally(), 0
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for one, did in pool.map(lambda seed: pause(folder, seed), range(SEED, SEED + rounds)):
            tally.add(one)
            overtaken += did
    print(f"\npauses, seeds from {SEED}: {tally}, overtaken {overtaken}")
    assert overtaken, "none was overtaken: nothing was looked at"
    return tally


def test_ten_pauses(tmp_path: Path) -> None:
    assert loop(tmp_path, 10).troubles == []


@pytest.mark.soak
def test_a_hundred_pauses(tmp_path: Path) -> None:
    assert loop(tmp_path, 100).troubles == []
