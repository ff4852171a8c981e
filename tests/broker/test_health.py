"""A target that does not answer costs its time-out once, not with every job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.database import Database
from broker.health import DISK_SECONDS, FIRST_PAUSE, FRESH_SECONDS, LONGEST_PAUSE, Health
from broker.targets import Target
from executors import KINDS
from executors.base import ExecutorError, NotInstalled, Probe, Refused, Unreachable
from executors.local import LocalExecutor

BOX = Target("box", "fake", {"root": "/tmp/box"})


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Fake(LocalExecutor):
    """Answers as told, and counts how often it was asked."""

    answer = Probe(True, cpus=8)
    asked = 0

    def probe(self, deadline: float) -> Probe:
        type(self).asked += 1
        return self.answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    class Fresh(Fake):
        pass

    monkeypatch.setitem(KINDS, "fake", f"{__name__}:_current")
    monkeypatch.setitem(globals(), "_current", Fresh)
    return Fresh


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "journal.sqlite3")
    yield opened
    opened.close()


def test_an_answer_is_good_for_a_moment_and_then_asked_for_again(fake: type[Fake], database: Database) -> None:
    clock = Clock()
    health = Health(database, clock)
    assert health.probe(BOX) == health.probe(BOX) == Probe(True, cpus=8)
    assert fake.asked == 1
    clock.now += FRESH_SECONDS + 1
    health.probe(BOX)
    assert fake.asked == 2


def test_a_dead_target_is_asked_once_for_thousands_of_jobs(fake: type[Fake], database: Database) -> None:
    fake.answer = Probe(False, "no answer")
    health = Health(database, Clock())
    probes = [health.probe(BOX) for _ in range(5000)]
    assert fake.asked == 1
    assert not any(probe.reachable for probe in probes)
    assert "no answer" in probes[-1].reason


def test_the_breaker_is_the_journals_so_the_next_command_knows(fake: type[Fake], database: Database) -> None:
    fake.answer = Probe(False, "no answer")
    clock = Clock()
    Health(database, clock).probe(BOX)
    assert not Health(database, clock).probe(BOX).reachable
    assert fake.asked == 1


def test_when_the_pause_is_over_one_probe_closes_the_breaker_or_doubles_the_pause(
    fake: type[Fake], database: Database
) -> None:
    fake.answer = Probe(False, "no answer")
    clock = Clock()
    health = Health(database, clock)
    health.probe(BOX)
    clock.now += FIRST_PAUSE + 1
    health.probe(BOX)
    assert fake.asked == 2
    clock.now += FIRST_PAUSE + 1
    health.probe(BOX)
    assert fake.asked == 2, "the second pause is twice the first"
    clock.now += FIRST_PAUSE
    fake.answer = Probe(True)
    assert health.probe(BOX).reachable
    assert health.probe(BOX).reachable


def test_a_pause_has_a_longest(fake: type[Fake], database: Database) -> None:
    clock = Clock()
    health = Health(database, clock)
    for _ in range(50):
        health.failed(BOX, "lost")
    clock.now += LONGEST_PAUSE - 1
    assert not health.probe(BOX).reachable
    clock.now += 2
    assert health.probe(BOX).reachable


def test_a_clock_set_back_by_a_year_keeps_no_target_away(fake: type[Fake], database: Database) -> None:
    clock = Clock()
    health = Health(database, clock)
    health.failed(BOX, "lost")
    clock.now -= 365 * 86400
    assert health.probe(BOX).reachable


def test_a_target_configured_anew_is_asked_at_once(fake: type[Fake], database: Database) -> None:
    health = Health(database, Clock())
    health.failed(BOX, "lost")
    assert health.probe(Target("box", "fake", {"root": "/tmp/elsewhere"})).reachable


def test_a_target_configured_anew_begins_with_the_shortest_pause(fake: type[Fake], database: Database) -> None:
    clock = Clock()
    health = Health(database, clock)
    for _ in range(5):
        health.failed(BOX, "lost")
    anew = Target("box", "fake", {"root": "/tmp/elsewhere"})
    health.failed(anew, "lost")
    clock.now += FIRST_PAUSE + 1
    assert health.probe(anew).reachable


@pytest.mark.parametrize("error", [Refused("box: no such key"), NotInstalled("box: no such package", hint="pip")])
def test_what_is_mended_here_opens_no_breaker(error: ExecutorError, fake: type[Fake], database: Database) -> None:
    health = Health(database, Clock())
    fake.answer = Probe.failed("box", error)
    assert health.probe(BOX) == health.ask(BOX) == fake.answer
    fake.answer = Probe(True)
    assert health.probe(BOX).reachable


def test_a_refusal_takes_the_place_of_an_answer_from_a_moment_ago(fake: type[Fake], database: Database) -> None:
    health = Health(database, Clock())
    assert health.probe(BOX).reachable
    fake.answer = Probe.failed("box", Refused("box: its token may be read by others"))
    health.ask(BOX)
    assert health.known(BOX) == Probe(False, "its token may be read by others", cpus=8, exit_code=7)
    assert health.recent(BOX) is None
    asked = fake.asked
    assert health.probe(BOX).exit_code == 7
    assert fake.asked == asked + 1


def test_what_was_found_inside_is_told_as_long_as_an_answer_and_until_something_is_done(
    fake: type[Fake], database: Database
) -> None:
    clock = Clock()
    health = Health(database, clock)
    refused = Probe.failed("box", Refused("box: login failed", step="login", hint="ssh-copy-id box"))
    health.found(BOX, refused)
    told = health.probe(BOX)
    assert (told.exit_code, told.step, told.hint, told.away) == (7, "login", "ssh-copy-id box", False)
    assert told.reason == "login failed (asked again in 30 s, or by `offload targets test box`)"
    clock.now += FRESH_SECONDS + 1
    assert health.probe(BOX).reachable
    health.found(BOX, refused)
    health.lapse(BOX)
    assert health.probe(BOX).reachable


def test_of_a_target_that_was_never_asked_nothing_is_known_and_this_machine_always_is(
    fake: type[Fake], database: Database
) -> None:
    health, here = Health(database, Clock()), Target("local", "fake", BOX.options)
    assert health.known(BOX) is None
    health.found(here, Probe(False, "a package is not here", exit_code=4))
    assert health.known(here) == Probe(True, cpus=8)


def test_while_the_breaker_is_open_the_reason_stays_and_says_how_to_ask(fake: type[Fake], database: Database) -> None:
    health = Health(database, Clock())
    fake.answer = Probe.failed("box", Unreachable("box: no route", step="TCP", hint="ssh -v box"), ("name", "TCP"))
    health.probe(BOX)
    health.failed(BOX, "box: the connection broke")
    left = health.probe(BOX)
    assert left.reason == "the connection broke (asked again in 60 s, or by `offload targets test box`)"
    assert left.away


def test_an_answer_makes_the_next_failure_the_first(fake: type[Fake], database: Database) -> None:
    clock = Clock()
    health = Health(database, clock)
    for _ in range(5):
        health.failed(BOX, "lost")
    health.ask(BOX)
    health.failed(BOX, "lost")
    clock.now += FIRST_PAUSE + 1
    assert health.probe(BOX).reachable


def test_what_was_seen_from_inside_is_known_for_longer_than_an_answer(fake: type[Fake], database: Database) -> None:
    clock = Clock()
    health = Health(database, clock)
    fake.answer = Probe(True)
    health.learned(BOX, cpus=4, gpu="A", memory_bytes=8, disk_free_bytes=9)
    assert health.probe(BOX) == Probe(True, cpus=4, gpu="A", memory_bytes=8, disk_free_bytes=9)
    clock.now += FRESH_SECONDS + 1
    assert health.probe(BOX) == Probe(True, cpus=4, gpu="A", memory_bytes=8, disk_free_bytes=9)
    clock.now += DISK_SECONDS
    assert health.probe(BOX) == Probe(True, cpus=4, gpu="A", memory_bytes=8)
    health.failed(BOX, "lost")
    assert health.probe(BOX).gpu == "A"
    fake.answer = Probe(True, gpu="B")
    assert (health.ask(BOX).gpu, health.probe(BOX).cpus) == ("B", 4)
    assert health.probe(Target("box", "fake", {"root": "/tmp/elsewhere"})).gpu == "B"


def test_this_machine_is_never_left_alone(fake: type[Fake], database: Database) -> None:
    here = Target("local", "fake", BOX.options)
    health = Health(database, Clock())
    fake.answer = Probe(False, "the cache cannot be written")
    assert not health.probe(here).reachable
    fake.answer = Probe(True)
    assert health.probe(here).reachable


def test_asking_on_purpose_closes_the_breaker(fake: type[Fake], database: Database) -> None:
    health = Health(database, Clock())
    health.failed(BOX, "lost")
    assert not health.probe(BOX).reachable
    assert health.ask(BOX).reachable
    assert health.probe(BOX).reachable
