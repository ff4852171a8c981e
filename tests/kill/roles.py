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


def undisturbed(folder: Path, number: int, role: str) -> float:
    """Play a round in which nothing is killed; returns the seconds it takes."""
    game = GAMES[role](folder / f"{role}-undisturbed-{number}", Random(number))
    took = game.undisturbed()
    assert game.tally.troubles == []
    return took


def play(folder: Path, seed: int, role: str, span: float) -> Tally:
    """Play one round of a role; its moment is somewhere in the `span` seconds that an undisturbed one takes."""
    random, number = Random(seed), SIGNALS[seed % len(SIGNALS)]
    place, moment = folder / f"{role}-{seed}", random.uniform(0, span)
    if role == "sshd":
        return _sshd(place, random, moment, whole=seed % 2 == 0, moves=seed // 2 % 2 == 0)
    if role == "follower":
        detached = Detached(place, random)
        detached.kill_follower(number, moment)
        return detached.tally
    attended = Attended(place, random)
    if role == "command":
        attended.kill_command(number, moment)
    else:
        attended.kill_part(role, number, random.uniform(0, 0.7))
    return attended.tally


def _sshd(place: Path, random: Random, moment: float, whole: bool, moves: bool) -> Tally:
    game = Boxed(place, random, MOVES if moves else STAYS)
    if moves:
        game.kill_for_long(whole, moment)
    else:
        game.kill_for_a_moment(whole, moment / 2, random.uniform(0, 1))
    return game.tally
