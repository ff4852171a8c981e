"""Targets whose machine is taken for us, costs something until it is given back, and is lost if nobody uses it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from executors.base import Executor


@dataclass(frozen=True)
class Holding:
    """A machine that was taken for us: its name, what it is, in words, when it was taken and last used (epoch seconds).

    `idle` is how many seconds after its last use it is given back, `keep` how many it is kept at most with work on it
    and nobody in touch.
    """

    name: str
    what: str
    taken: float
    used: float
    idle: float
    keep: float


class Rented(Executor):
    """A target whose machine is taken for us when entered, costs something until given back, and is lost if unused.

    Leaving it gives nothing back: who takes machines has to see to that (see `broker.keeper`).
    """

    @abstractmethod
    def held(self) -> Holding | None:
        """What is taken, as far as this machine knows. Asks nobody. Raises Refused when that cannot be read."""

    @abstractmethod
    def use(self) -> None:
        """Note, here, that the machine is in use now: it is idle from then on. Asks nobody."""

    @abstractmethod
    def keep_alive(self) -> None:
        """Say that the machine is in use, without entering. Raises Gone when it is ours no more, Unreachable, Refused.

        What keeps it alive is short-lived: say it every minute.
        """

    @abstractmethod
    def give_back(self, unless: Callable[[], bool] = lambda: False) -> bool:
        """Give the machine back, and all that is on it. Returns whether it is; raises Unreachable or Refused.

        Nobody takes or enters it meanwhile; `unless` is asked once that is so, and keeps it when it says so.
        """

    @abstractmethod
    def give_back_other(self, machine: str) -> None:
        """Give back another machine of the same account, by the name that the target's errors call it."""
