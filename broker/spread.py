"""A job's items shared among several targets, all at work at once.

Each target has a thread of its own, which drives an attempt at its share. One that is done takes over what another has
not done yet, from the end, if that ends the whole sooner: the first valid result of an item is published, and whoever
finds all of its items done by others is told to stop. What a target fails to do goes to the next that is idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from broker import policy
from broker.delivery import Locks
from broker.errors import Interrupted
from broker.events import Event, Note
from broker.journal import Journal
from broker.leaving import HURRY_SECONDS
from broker.ledger import Ledger
from broker.plan import Candidate
from broker.settings import Settings
from broker.shares import Hand, divide, take_over
from broker.stop import Stop
from broker.work import Load, weighed

LOOK_SECONDS = 0.5
"""How often an idle target looks whether there is something to take over."""

Attempt = Callable[[Ledger, Candidate, Sequence[int], Stop, Locks], Iterator[Event]]
"""Drives one attempt at some items."""


class _Ended:
    """An attempt is over, with the error that ended it, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Spread:
    """A job on several targets. Iterate it to drive it; what no target could do is left open.

    It does nothing where one target alone would be done as soon. Raises as Dispatch does, except for what is a
    machine's failure.
    """

    def __init__(
        self, ledger: Ledger, plan: Sequence[Candidate], attempt: Attempt, stop: Stop, settings: Settings
    ) -> None:
        self._ledger, self._attempt, self._settings = ledger, attempt, settings
        self._stop = Stop(within=stop)
        _, amounts = weighed(ledger.job.unit, [Load.of(item) for item in ledger.job.items])
        self._amounts = {item.index: max(amount, 1.0) for item, amount in zip(ledger.job.items, amounts, strict=True)}
        self._locks = [Lock() for _ in self._amounts]
        self._hands = [Hand(candidate, self._amounts) for candidate in plan]
        self._told: SimpleQueue[tuple[Hand, Event | _Ended]] = SimpleQueue()
        self._threads: list[Thread] = []
        self._broken: BaseException | None = None

    def __iter__(self) -> Iterator[Event]:
        shares = self._shares()
        if len(shares) < 2:
            return
        yield Note("shared among " + ", ".join(f"{hand.name} ({len(items)})" for hand, items in shares.items()))
        try:
            for hand, items in shares.items():
                self._begin(hand, items)
            while any(hand.busy for hand in self._hands):
                yield from self._hear()
                self._employ()
        finally:
            self._stop.request()
            for thread in self._threads:
                thread.join(HURRY_SECONDS)
        if self._broken:
            raise self._broken

    def _shares(self) -> dict[Hand, list[int]]:
        """What each does first: what it was at already when a driver was killed, and a share of the rest."""
        begun = {one.target: one.items for one in self._ledger.attempts if one.state == "running" and not one.prepares}
        shares = {hand: self._open(begun.get(hand.name) or ()) for hand in self._hands}
        taken = {index for items in shares.values() for index in items}
        rest = {index: self._amounts[index] for index in self._open() if index not in taken}
        free = [hand for hand in self._hands if not shares[hand]]
        if free:
            shares |= dict(zip(free, divide(rest, self._paces(free)), strict=True))
        return {hand: items for hand, items in shares.items() if items}

    def _open(self, among: Sequence[int] | None = None) -> list[int]:
        known = [item.index for item in self._ledger.job.open_items]
        return known if among is None else [index for index in among if index in known]

    def _paces(self, hands: Sequence[Hand]) -> list[float]:
        """Seconds for a unit of work, by the plan; where it does not know of all, all are taken for equal."""
        known = [hand.candidate.seconds for hand in hands if hand.candidate.seconds]
        total = sum(self._amounts.values())
        return [seconds / total for seconds in known] if len(known) == len(hands) else [1.0] * len(hands)

    # The threads

    def _begin(self, hand: Hand, items: Sequence[int]) -> None:
        hand.begin(items, Stop(within=self._stop))
        thread = Thread(target=self._work, args=(hand, items), name=f"share of {hand.name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, hand: Hand, items: Sequence[int]) -> None:
        error: BaseException | None = None
        try:
            with Journal(self._settings.journal, mend=False) as journal:
                ledger = journal.joined(self._ledger)
                for event in self._attempt(ledger, hand.candidate, items, hand.stop, self._locks):
                    self._told.put((hand, event))
        except BaseException as caught:  # noqa: BLE001 - whatever it is, the driver hears of it
            error = caught
        self._told.put((hand, _Ended(error)))

    def _hear(self) -> Iterator[Event]:
        with suppress(Empty):  # then it is time to look after those who are idle
            hand, event = self._told.get(timeout=LOOK_SECONDS)
            if isinstance(event, _Ended):
                yield from self._ended(hand, event.error)
            else:
                hand.note(event)
                yield event

    def _ended(self, hand: Hand, error: BaseException | None) -> Iterator[Event]:
        hand.busy = False
        if isinstance(error, policy.MOVABLE):
            hand.failed = True
            yield Note(f"{error}; what it had left goes on elsewhere")
        elif error is not None and not (isinstance(error, Interrupted) and self._is_done(hand)):
            self._broken = self._broken or error
            self._stop.request()

    def _is_done(self, hand: Hand) -> bool:
        """Whether nothing is left for one to do: if it still waits for its turn, it need not."""
        return not self._stop.requested and not self._open(hand.items)

    # Those who are idle

    def _employ(self) -> None:
        """Give those who are idle what nobody is at, or what somebody else is far from having done."""
        for hand in self._hands:
            if hand.busy and not hand.started and self._is_done(hand):
                hand.stop.request()
            if hand.busy or hand.failed or self._stop.requested:
                continue
            if items := self._left_lying() or self._taken_over(hand):
                self._begin(hand, items)

    def _left_lying(self) -> list[int]:
        at_work = {index for hand in self._hands if hand.busy for index in hand.items}
        return [index for index in self._open() if index not in at_work]

    def _taken_over(self, idle: Hand) -> list[int]:
        """Of what the one that will be last is at alone, that which is better done twice."""
        at_work = [hand for hand in self._hands if hand.busy]
        alone = {hand: items for hand in at_work if (items := self._alone(hand, at_work))}
        left = {hand: hand.left(items) for hand, items in alone.items()}
        last = max(left, key=lambda hand: left[hand], default=None)
        if last is None or idle.pace is None:
            return []
        return take_over(alone[last], self._amounts, left[last], idle.takes)

    def _alone(self, hand: Hand, at_work: Sequence[Hand]) -> list[int]:
        others = {index for other in at_work if other is not hand for index in other.items}
        return [index for index in self._open(hand.items) if index not in others]
