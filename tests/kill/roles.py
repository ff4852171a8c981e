"""What can be killed, and how a round of it is played."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.kill.attended import Attended
from tests.kill.boxed import MOVES, STAYS, Boxed
from tests.kill.detached import Detached
from tests.kill.rounds import SIGNALS
from tests.kill.tally import Tally

GAMES = {"command": Attended, "runner": Attended, "script": Attended, "follower": Detached, "sshd": Boxed}
TRIES = 10
PART_SECONDS = 0.7
"""A little more than the script works."""


def undisturbed(folder: Path, number: int, role: str) -> float:
    """Play a round in which nothing is killed; returns the seconds it takes."""
    game = GAMES[role](folder / f"{role}-undisturbed-{number}", Random(number))
    took = game.undisturbed()
    assert game.tally.troubles == []
    return took


def play(folder: Path, seed: int, role: str, span: float) -> Tally:
    """Play a role until something was killed: a moment that came too late is tried again, sooner.

    Moments are somewhere in the `span` seconds that an undisturbed round takes.
    """
    tally, random = Tally(), Random(seed)
    for again in range(TRIES):
        share = random.uniform(0, 1) / 2**again
        one = _round(folder / f"{role}-{seed}-{again}", random, seed, role, share, span)
        tally.add(one)
        if one.struck or one.troubles:
            break
    return tally


def _round(place: Path, random: Random, seed: int, role: str, share: float, span: float) -> Tally:
    number = SIGNALS[seed % len(SIGNALS)]
    if role == "sshd":
        return _sshd(place, random, share * span, whole=seed % 2 == 0, moves=seed // 2 % 2 == 0)
    if role == "follower":
        detached = Detached(place, random)
        detached.kill_follower(number, share * span)
        return detached.tally
    attended = Attended(place, random)
    if role == "command":
        attended.kill_command(number, share * span)
    else:
        attended.kill_part(role, number, share * PART_SECONDS)
    return attended.tally


def _sshd(place: Path, random: Random, after: float, whole: bool, moves: bool) -> Tally:
    game = Boxed(place, random, MOVES if moves else STAYS)
    if moves:
        game.kill_for_long(whole, after)
    else:
        game.kill_for_a_moment(whole, after / 2, random.uniform(0, 1))
    return game.tally
