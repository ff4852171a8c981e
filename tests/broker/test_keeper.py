"""Keepers: what is rented is kept while it is needed, given back after, and never forgotten."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from broker import background, keeper, lease, settings
from broker.errors import Busy, LimitError
from broker.job import Remains, State
from broker.journal import Journal
from broker.keeper import Keeper, in_use
from executors.base import Executor, Gone, Refused, Unreachable
from executors.rented import Holding, Rented
from tests.broker.test_journal import submit

IDLE, KEEP = 300.0, 7200.0
NOON = 1_800_000_000.0


class Machine(Rented):
    """A machine that was taken at noon. `says` is what it raises when it is to be kept alive or given back."""

    def __init__(self) -> None:
        super().__init__("cloud", {})
        self.holding: Holding | None = Holding("m-1", "a machine", NOON, NOON, IDLE, KEEP)
        self.said_alive = self.uses = 0
        self.says: Exception | None = None

    def held(self) -> Holding | None:
        return self.holding

    def use(self) -> None:
        self.uses += 1

    def keep_alive(self) -> None:
        if isinstance(self.says, Gone):
            self.holding = None
        if self.says:
            raise self.says
        self.said_alive += 1

    def give_back(self, unless: Callable[[], bool] = lambda: False) -> bool:
        if self.says:
            raise self.says
        if unless():
            return False
        self.holding = None
        return True

    def give_back_other(self, machine: str) -> None:
        raise NotImplementedError

    probe = __enter__ = __exit__ = put = get = run = Executor.probe  # type: ignore[assignment]  # nobody enters it


Machine.__abstractmethods__ = frozenset()


@dataclass
class Day:
    """A day on which a keeper keeps a machine. `at` maps seconds from noon to what then happens."""

    journal: Journal
    machine: Machine = field(default_factory=Machine)
    now: float = 0.0
    at: dict[float, Callable[[], object]] = field(default_factory=dict)
    skew: float = 0.0
    asleep: float = 0.0

    def goes_by(self) -> list[str]:
        """Let it go by until the keeper ends, or for two days; what the keeper told."""
        kept = Keeper(settings.load(), self.journal, self.machine, self._clock, self._ticks, self._sleep)
        return list(kept.keep())

    def _ticks(self) -> float:
        return self.now - self.asleep

    def _clock(self) -> float:
        return NOON + self.now + self.skew

    def _sleep(self, seconds: float) -> None:
        assert 0 < seconds <= keeper.ALIVE_SECONDS, "it would be taken away from us meanwhile"
        assert self.now < 2 * 86400, "it is held for ever"
        self.now += seconds
        for moment in sorted(moment for moment in self.at if moment <= self.now):
            self.at.pop(moment)()

    def sleeps(self, seconds: float) -> None:
        """This machine is suspended."""
        self.now += seconds
        self.asleep += seconds


@pytest.fixture
def journal() -> Iterator[Journal]:
    with Journal(settings.load().journal) as opened:
        yield opened


@pytest.fixture
def day(journal: Journal) -> Day:
    return Day(journal)


@contextmanager
def driving(journal: Journal, job: str) -> Iterator[Any]:
    config = settings.load()
    with lease.hold(journal, config.state_dir / "leases", job, config.lease_seconds) as ledger:
        yield ledger


def at_work(journal: Journal, *, driven: bool) -> ExitStack:
    """A job with an attempt on the machine; the context is its driver's."""
    stack, job = ExitStack(), submit(journal)
    ledger = stack.enter_context(driving(journal, job))
    ledger.advance(State.RUNNING)
    ledger.may_remain(ledger.begin_attempt("cloud", "why"))
    if not driven:
        stack.close()
    return stack


def test_what_nobody_uses_is_given_back_when_it_has_been_idle(day: Day) -> None:
    assert day.goes_by() == ["a machine is given back"]
    assert IDLE <= day.now < IDLE + keeper.ALIVE_SECONDS
    assert day.machine.said_alive == math.ceil(IDLE / keeper.ALIVE_SECONDS)


def test_while_a_job_is_driven_there_it_stays_and_its_idle_time_begins_after(day: Day) -> None:
    with at_work(day.journal, driven=True) as driver:
        day.at = {20_000.0: driver.close}
        (attempt,) = day.journal.attempts(day.journal.jobs()[0].id)
        day.at[20_000.1] = lambda: end(day.journal, attempt.job)
        assert day.goes_by() == ["a machine is given back"]
    assert 20_000 + IDLE - keeper.ALIVE_SECONDS <= day.now < 20_000 + IDLE + 2 * keeper.ALIVE_SECONDS


def test_what_may_be_idle_for_seconds_only_is_looked_at_as_often(day: Day) -> None:
    assert day.machine.holding
    day.machine.holding = replace(day.machine.holding, idle=2.0)
    with at_work(day.journal, driven=True) as driver:
        (job,) = day.journal.jobs()
        day.at = {1000.0: driver.close, 1000.1: lambda: end(day.journal, job.id)}
        assert day.goes_by() == ["a machine is given back"]
    assert day.now <= 1000 + 3 * keeper.AGAIN_SECONDS


def end(journal: Journal, job: str) -> None:
    with driving(journal, job) as ledger:
        ledger.end_attempt(ledger.attempts[-1], "done", "", {})
        ledger.advance(State.DONE)
        journal.cleaned(ledger.attempts[-1])


def test_work_that_nobody_drives_is_waited_for_as_long_as_its_user_set(day: Day) -> None:
    at_work(day.journal, driven=False)
    day.goes_by()
    assert KEEP <= day.now < KEEP + keeper.ALIVE_SECONDS


def test_what_was_to_be_kept_is_and_after_that_nothing_is_left_there(day: Day) -> None:
    with at_work(day.journal, driven=True):
        pass
    job = day.journal.jobs()[0].id
    end(day.journal, job)
    day.journal.cleaned(day.journal.attempts(job)[0], Remains.KEPT)
    assert day.machine.holding
    day.machine.holding = replace(day.machine.holding, taken=0.0)
    day.goes_by()
    assert KEEP <= day.now < KEEP + keeper.ALIVE_SECONDS
    assert day.journal.work_on("cloud") == []


def test_who_uses_it_meanwhile_keeps_it(day: Day) -> None:
    def used() -> None:
        assert day.machine.holding
        day.machine.holding = replace(day.machine.holding, used=NOON + day.now)

    day.at = {250.0: used, 500.0: used}
    day.goes_by()
    assert 500 + IDLE - keeper.ALIVE_SECONDS <= day.now < 500 + IDLE + 2 * keeper.ALIVE_SECONDS


def test_who_comes_at_the_last_moment_keeps_it(day: Day) -> None:
    really, patch = Machine.give_back, pytest.MonkeyPatch()

    def give_back(self: Machine, unless: Callable[[], bool] = lambda: False) -> bool:
        patch.undo()
        at_work(day.journal, driven=False)  # between the keeper's look and its turn
        return really(self, unless)

    patch.setattr(Machine, "give_back", give_back)
    day.goes_by()
    assert day.now >= KEEP


def test_a_machine_that_is_gone_ends_it_and_leaves_no_orphan(day: Day) -> None:
    with at_work(day.journal, driven=True) as driver:
        driver.close()
        job = day.journal.jobs()[0].id
        with driving(day.journal, job) as ledger:
            ledger.end_attempt(ledger.attempts[-1], "lost", "gone", {})
    assert [orphan.target for orphan in day.journal.orphans()] == ["cloud"]
    day.machine.says = Gone("cloud: it was taken back")
    assert day.goes_by() == ["cloud: it was taken back"]
    assert (day.now, day.journal.orphans()) == (0, [])


def test_one_that_cannot_be_reached_is_tried_again(day: Day) -> None:
    day.machine.says = Unreachable("cloud: no answer")
    day.at = {1000.0: lambda: setattr(day.machine, "says", None)}
    said = day.goes_by()
    assert (said[0], said[-1]) == ("cloud: no answer; trying again", "a machine is given back")
    assert 1000 <= day.now < 1000 + keeper.ALIVE_SECONDS
    assert day.machine.holding is None


def test_who_is_not_let_in_any_more_tries_until_it_is_of_no_use(day: Day) -> None:
    day.machine.says = Refused("cloud: the login was revoked")
    with pytest.raises(Refused):
        day.goes_by()
    assert IDLE <= day.now < IDLE + 2 * keeper.ALIVE_SECONDS
    assert day.machine.holding is not None  # so the next start tells of it


def test_a_refusal_that_passes_costs_nothing(day: Day) -> None:
    day.machine.says = Refused("cloud: it answers 403")
    day.at = {100.0: lambda: setattr(day.machine, "says", None)}
    assert day.goes_by()[-1] == "a machine is given back"


def test_a_journal_that_is_busy_for_once_ends_no_keeper(day: Day) -> None:
    patch = pytest.MonkeyPatch()

    def busy(*_: object) -> list[str]:
        patch.undo()
        raise Busy("another process has been writing")

    patch.setattr(Journal, "work_on", busy)
    assert day.goes_by() == ["another process has been writing; trying again", "a machine is given back"]


def test_what_is_only_about_to_be_taken_is_waited_for_and_then_kept(day: Day) -> None:
    holding, day.machine.holding = day.machine.holding, None
    with at_work(day.journal, driven=True) as driver:
        job = day.journal.jobs()[0].id
        day.at = {50.0: lambda: setattr(day.machine, "holding", holding), 100.0: driver.close}
        day.at[100.1] = lambda: end(day.journal, job)
        assert day.goes_by() == ["a machine is given back"]


def test_what_is_not_taken_after_all_is_not_waited_for(day: Day) -> None:
    day.machine.holding = None
    with at_work(day.journal, driven=True) as driver:
        job = day.journal.jobs()[0].id
        day.at = {50.0: driver.close, 50.1: lambda: end(day.journal, job)}
        assert day.goes_by() == []
    assert 50 <= day.now < 60


def test_what_was_kept_on_an_earlier_machine_keeps_no_later_one(day: Day) -> None:
    with at_work(day.journal, driven=True):
        pass
    job = day.journal.jobs()[0].id
    end(day.journal, job)
    day.journal.cleaned(day.journal.attempts(job)[0], Remains.KEPT)
    later = time.time() + 3600
    assert day.machine.holding
    day.machine.holding = replace(day.machine.holding, taken=later, used=later)
    day.skew = later - NOON
    day.goes_by()
    assert day.now < IDLE + 2 * keeper.ALIVE_SECONDS


def test_a_machine_that_was_idle_while_we_slept_is_given_back_at_once(day: Day) -> None:
    day.at = {60.0: lambda: day.sleeps(3600)}
    day.goes_by()
    assert day.now < 3600 + IDLE


def test_a_clock_that_is_set_back_holds_nothing_for_longer(day: Day) -> None:
    day.at = {60.0: lambda: setattr(day, "skew", -86400.0)}
    day.goes_by()
    assert day.now < IDLE + 2 * keeper.ALIVE_SECONDS


def test_where_no_keeper_can_be_started_it_is_said_and_the_next_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(background, "spawn", refuse)
    for _ in range(2):
        with pytest.raises(LimitError, match="keeps what cloud holds") as refused:
            keeper.start(settings.load(), Machine())
    assert refused.value.hint == "offload targets release cloud"


def test_of_what_is_held_nothing_is_said_while_it_is_kept(tmp_path: Path) -> None:
    config = settings.load()
    path = keeper._path(config, "cloud", "lock")
    assert not keeper._kept(path)
    lock = keeper._take(path)
    assert lock is not None
    assert keeper._kept(path)
    assert keeper._take(path) is None


def test_a_machine_that_somebody_is_in_is_used_before_it_counts_as_idle() -> None:
    machine = Machine()
    machine.holding = Holding("m-1", "a machine", NOON, NOON, idle=0.2, keep=KEEP)
    with in_use(machine):
        until = time.monotonic() + 60
        while machine.uses < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
    uses = machine.uses
    time.sleep(0.3)
    assert machine.uses == uses
