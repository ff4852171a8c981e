"""A command that is stopped past its lease and goes on later: exactly one result, whenever that was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.kill.paused import Paused
from tests.kill.tally import Tally

AT_A_TIME = 2
SEED = 30_000
LEASE_SECONDS = 1.0


def pause(folder: Path, seed: int) -> tuple[Tally, bool | None]:
    """One round: of four, one is stopped anywhere, three while it drives its job.

    Every other time the second command comes at once, and has to wait for the lease to end.
    """
    random = Random(seed)
    game = Paused(folder / f"pause-{seed}", random, lease_seconds=LEASE_SECONDS)
    driving = seed % 4 != 0
    after = random.uniform(0, 0.7) if driving else random.uniform(0.2, 1.6)
    overtaken = game.pause_command(after, seed % 2 * 1.2 * LEASE_SECONDS, driving)
    return game.tally, overtaken


def loop(folder: Path, rounds: int) -> Tally:
    tally, overtaken = Tally(), list[bool | None]()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for one, did in pool.map(lambda seed: pause(folder, seed), range(SEED, SEED + rounds)):
            tally.add(one)
            overtaken.append(did)
    did, did_not = overtaken.count(True), overtaken.count(False)
    print(f"\npauses, seeds from {SEED}: {tally}; overtaken {did}, waited for {did_not}")
    assert did
    assert not did_not, "only one that is stopped in the middle of a transaction may hold up another"
    return tally


def test_ten_pauses(tmp_path: Path) -> None:
    assert loop(tmp_path, 10).troubles == []


def test_what_another_has_done_meanwhile_is_not_begun_anew(tmp_path: Path) -> None:
    paused = Paused(tmp_path / "round", Random(SEED), lease_seconds=LEASE_SECONDS)
    paused.pause_before_it_starts()
    assert paused.tally.troubles == []


@pytest.mark.soak
def test_a_hundred_pauses(tmp_path: Path) -> None:
    assert loop(tmp_path, 100).troubles == []
