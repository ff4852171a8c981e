"""Who does which items, when several targets share a job. Pure but for the clock: amounts and paces in, shares out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from broker.events import Event, Progress, Published, Started
from broker.plan import Candidate
from broker.stop import Stop

GAIN = 0.9
"""What is taken over has to be done in so much of the time it would else take: less is not worth doing twice."""

Amounts = Mapping[int, float]
"""Item -> how much work it is, in any unit."""


def divide(amounts: Amounts, paces: Sequence[float]) -> list[list[int]]:
    """Share items among targets of these paces (seconds for a unit of work); returns the indices for each target.

    The largest item first, each to whoever is then done with it soonest: who is too slow to help gets none.
    """
    shares: list[list[int]] = [[] for _ in paces]
    busy = [0.0] * len(paces)
    for index in sorted(amounts, key=lambda index: (-amounts[index], index)):
        ends = [taken + pace * amounts[index] for taken, pace in zip(busy, paces, strict=True)]
        soonest = ends.index(min(ends))
        shares[soonest].append(index)
        busy[soonest] = ends[soonest]
    return [sorted(share) for share in shares]


def take_over(
    items: Sequence[int], amounts: Amounts, left: float, takes: Callable[[Sequence[int]], float]
) -> list[int]:
    """Which of another's unfinished `items`, in its order, an idle target should do again: some, the last one first.

    The other would need `left` seconds for all of them; `takes` tells how long some would take the idle one. So the two
    come towards each other. Empty where doing any twice would not end the whole sooner.
    """
    total = sum(amounts[index] for index in items)
    best, taken, work = left * GAIN, list[int](), 0.0
    for place in reversed(range(len(items))):
        work += amounts[items[place]]
        ends = max(takes(items[place:]), left * (1 - work / total))
        if ends < best:
            best, taken = ends, list(reversed(items[place:]))
    return taken


class Hand:
    """One target and the items it is at. `pace`: the seconds it takes for a unit of work, once it has done some.

    One that is `busy` and not yet `started` waits for its turn there; `stop` ends what it is at.
    """

    def __init__(self, candidate: Candidate, amounts: Amounts, clock: Callable[[], float] = time.monotonic) -> None:
        self.candidate, self.name = candidate, candidate.target.name
        self.items: Sequence[int] = ()
        self.busy = self.started = self.failed = False
        self.stop = Stop()
        self.pace: float | None = None
        self._each = 0.0
        self._amounts, self._clock = amounts, clock
        self._begun = self._since = self._worked = 0.0
        self._count = 0
        self._ends: float | None = None

    def begin(self, items: Sequence[int], stop: Stop) -> None:
        """It begins with these items, until it is asked to `stop`."""
        self.items, self.stop, self.busy, self.started = items, stop, True, False
        self._begun = self._since = self._clock()
        self._worked, self._count, self._ends = 0.0, 0, None

    def note(self, event: Event) -> None:
        """Learn from what it tells how fast it is."""
        now = self._clock()
        if isinstance(event, Started):
            self.started, self._begun, self._since = True, now, now
        elif isinstance(event, Published):
            self._worked += self._amounts[event.index]
            self._count += 1
            self.pace, self._each = (now - self._begun) / self._worked, (now - self._begun) / self._count
            self._since, self._ends = now, None
        elif isinstance(event, Progress) and event.eta:
            self._ends = now + event.eta

    def takes(self, items: Sequence[int]) -> float:
        """Seconds it would take for some items, by what it has done: as many, or as much, whichever is longer."""
        return max((self.pace or 0.0) * sum(self._amounts[index] for index in items), self._each * len(items))

    def left(self, items: Sequence[int]) -> float:
        """Seconds until these of its items are done, the first of which it may be at, as far as can be told."""
        now, (first, *others) = self._clock(), items
        since = now - self._since
        pace = self.pace or since / self._amounts[first]
        # Who has been at one thing for longer than expected may be for as long again: a straggler tells no more.
        current = self._ends - now if self._ends else pace * self._amounts[first] - since
        return max(current, since) + pace * sum(self._amounts[index] for index in others)
