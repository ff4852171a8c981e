"""Several that ask for the same at once, each for a place of its own: one makes it, the others wait and have it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from broker import recall, settings
from broker.broker import Broker
from broker.claim import Claim
from broker.errors import Interrupted
from broker.events import Event, Note, Progress
from broker.job import Request, State
from broker.stop import Stop
from tests import fakework
from tests.broker.again import attempts, elsewhere, made, runs, unique
from tests.broker.jobs import drive, notes, request
from tests.broker.test_many import herd
from tests.kill.rounds import ROOT
from tests.stopping import stop

HANGS = 120.0


@pytest.fixture(autouse=True)
def _on(offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", str(10**8))


class Asked(threading.Thread):
    """One who asks, in a thread of its own; `told` grows meanwhile, `said` is the error it ended with."""

    def __init__(self, asked: Request) -> None:
        super().__init__(daemon=True)
        self.stop, self.told = Stop(), list[Event]()
        self.said: BaseException | None = None
        self._asked = asked
        self.start()

    def run(self) -> None:
        try:
            with Broker(settings.load()) as broker:
                for event in broker.drive(broker.submit(self._asked), self.stop):
                    self.told.append(event)
        except Exception as error:  # noqa: BLE001 - judged by who looks at it
            self.said = error

    def until(self, true: Callable[[Event], bool]) -> None:
        """Wait until it was told such a thing."""
        wait_for(lambda: any(map(true, self.told)) or not self.is_alive())
        assert any(map(true, self.told)), self.said or self.told

    def end(self) -> None:
        self.join(HANGS)
        assert not self.is_alive(), self.told


def wait_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANGS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waits(event: Event) -> bool:
    return isinstance(event, Note) and "which is making the same" in event.message


def begun(event: Event) -> bool:
    return isinstance(event, Progress)


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """While a file is missing in it, the item of that number is not done."""
    folder = tmp_path / "hold"
    folder.mkdir()
    return folder


def held(folder: Path, hold: Path, *contents: bytes) -> Request:
    return request(folder, *contents, hold=str(hold), size=1000)


def test_sixty_four_that_want_the_same_in_places_of_their_own_make_it_once(broker: Broker, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "0.dat").write_bytes(b"the same")
    told = herd("apart", tmp_path, 64)
    assert {one["state"] for one in told} == {"done"}
    assert len({one["job"] for one in told}) == len({one["outputs"][0] for one in told}) == 64
    assert {Path(one["outputs"][0]).read_bytes() for one in told} == {fakework.expected(b"the same")}
    assert runs(broker) == 1


def test_the_second_waits_says_so_and_has_what_the_first_made(broker: Broker, hold: Path, tmp_path: Path) -> None:
    asked = held(tmp_path / "media", hold, b"one")
    first = Asked(asked)
    first.until(begun)
    second = Asked(elsewhere(asked, tmp_path / "other"))
    second.until(waits)
    job = next(job for job in broker.journal.jobs() if job.items[0].outputs[0].dest.parent.name == "other")
    maker = next(one for one in broker.journal.jobs() if one.id != job.id)
    assert broker.journal.ending(job.id).error == f"waiting for job {maker.id}, which is making the same"
    (hold / "0").touch()
    first.end()
    second.end()
    assert made(elsewhere(asked, tmp_path / "other")) == made(asked)
    assert runs(broker) == 1
    assert broker.journal.ending(job.id).error == ""
    assert not list((broker.settings.state_dir / "claims").iterdir())


def test_a_batch_that_waits_has_each_item_as_soon_as_it_is_made(broker: Broker, hold: Path, tmp_path: Path) -> None:
    asked = held(tmp_path / "media", hold, b"one", b"two")
    first = Asked(asked)
    first.until(begun)
    backwards = replace(asked, inputs=asked.inputs[::-1])  # the same, in another order
    second = Asked(elsewhere(backwards, tmp_path / "other"))
    second.until(waits)
    (hold / "0").touch()
    wait_for((tmp_path / "other/0.worked.bin").exists)
    assert not (tmp_path / "media/1.worked.bin").exists()
    (hold / "1").touch()
    first.end()
    second.end()
    assert made(elsewhere(asked, tmp_path / "other")) == made(asked)
    assert runs(broker) == 1


@pytest.mark.parametrize("way", ["stopped", "failed"])
def test_the_second_makes_it_when_the_first_does_not(way: str, broker: Broker, hold: Path, tmp_path: Path) -> None:
    asked = held(tmp_path / "media", hold, b"one")
    first = Asked(asked)
    first.until(begun)
    second = Asked(elsewhere(asked, tmp_path / "other"))
    second.until(waits)
    if way == "stopped":
        first.stop.request()
    else:
        job = next(job for job in broker.journal.jobs() if job.items[0].outputs[0].dest.parent.name == "media")
        broker.journal.want(job.id, False)
    first.end()
    assert isinstance(first.said, Interrupted)
    second.until(begun)
    (hold / "0").touch()
    second.end()
    assert made(elsewhere(asked, tmp_path / "other")) == [fakework.expected(b"one", 1000)]


def test_one_that_waits_is_stopped_at_once(broker: Broker, hold: Path, tmp_path: Path) -> None:
    asked = held(tmp_path / "media", hold, b"one")
    first = Asked(asked)
    first.until(begun)
    second = Asked(elsewhere(asked, tmp_path / "other"))
    second.until(waits)
    second.stop.request()
    second.end()
    assert isinstance(second.said, Interrupted)
    states = {job.items[0].outputs[0].dest.parent.name: job.state for job in broker.journal.jobs()}
    assert states == {"media": State.RUNNING, "other": State.CANCELLED}
    (hold / "0").touch()
    first.end()
    assert runs(broker) == 1


def test_one_that_waits_is_cancelled_from_elsewhere(broker: Broker, hold: Path, tmp_path: Path) -> None:
    asked = held(tmp_path / "media", hold, b"one")
    first = Asked(asked)
    first.until(begun)
    second = Asked(elsewhere(asked, tmp_path / "other"))
    second.until(waits)
    job = next(job for job in broker.journal.jobs() if job.items[0].outputs[0].dest.parent.name == "other")
    broker.cancel(job)
    second.end()
    assert broker.journal.job(job.id).state is State.CANCELLED
    (hold / "0").touch()
    first.end()


def test_one_that_is_left_while_it_waits_is_cancelled(broker: Broker, hold: Path, tmp_path: Path) -> None:
    asked = held(tmp_path / "media", hold, b"one")
    first = Asked(asked)
    first.until(begun)
    job = broker.submit(elsewhere(asked, tmp_path / "other"))
    with closing(broker.drive(job, Stop())) as events:  # type: ignore[type-var]
        assert waits(next(iter(events)))
    assert broker.journal.job(job.id).state is State.CANCELLED
    (hold / "0").touch()
    first.end()


@pytest.mark.parametrize("other", [{"cache": False}, {"on": "local"}, {"keep": True}], ids=str)
def test_who_wants_something_else_does_not_wait(
    other: dict[str, object], broker: Broker, hold: Path, tmp_path: Path
) -> None:
    asked = held(tmp_path / "media", hold, b"one")
    first = Asked(asked)
    first.until(begun)
    second = Asked(elsewhere(asked, tmp_path / "other", **other))
    second.until(begun)
    (hold / "0").touch()
    first.end()
    second.end()
    assert runs(broker) == 2


def typed(folder: Path, hold: Path) -> subprocess.Popen[bytes]:
    words = [str(folder / "0.dat"), "-o", str(folder / "0.worked.bin"), "--seconds", "0.02", "--size", "1000"]
    fake = [sys.executable, str(Path(fakework.__file__).with_name("fake.py")), *words, "--hold", str(hold)]
    return subprocess.Popen(fake, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)


@pytest.fixture
def other(tmp_path: Path, hold: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command under way, in a process of its own."""
    (tmp_path / "media").mkdir()
    (tmp_path / "media/0.dat").write_bytes(b"one")
    process = typed(tmp_path / "media", hold)
    yield process
    process.kill()
    process.wait()


def under_way(broker: Broker) -> bool:
    return any(sum(broker.journal.progress(job.id)) > 0 for job in broker.journal.jobs())


def test_one_that_is_killed_keeps_nobody_waiting(
    other: subprocess.Popen[bytes], broker: Broker, hold: Path, tmp_path: Path
) -> None:
    wait_for(lambda: under_way(broker))
    asked = elsewhere(held(tmp_path / "media", hold, b"one"), tmp_path / "other")
    second = Asked(asked)
    second.until(waits)
    other.kill()
    second.until(begun)
    (hold / "0").touch()
    second.end()
    assert made(asked) == [fakework.expected(b"one", 1000)]


def test_nor_does_one_that_is_stopped_in_the_middle(
    other: subprocess.Popen[bytes], broker: Broker, hold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_LEASE_SECONDS", "2")
    wait_for(lambda: under_way(broker))
    asked = elsewhere(held(tmp_path / "media", hold, b"one"), tmp_path / "other")
    second = Asked(asked)
    second.until(waits)
    stop(other, broker.settings.journal)
    second.until(begun)
    (hold / "0").touch()
    second.end()
    other.send_signal(signal.SIGCONT)
    assert other.wait(HANGS) == 0
    assert made(asked) == [(tmp_path / "media/0.worked.bin").read_bytes()]


def test_two_batches_that_share_some_do_not_wait_for_each_other(broker: Broker, hold: Path, tmp_path: Path) -> None:
    asked = held(tmp_path / "media", hold, b"one", b"two", b"three")
    first = Asked(replace(asked, inputs=asked.inputs[:2]))
    second = Asked(elsewhere(replace(asked, inputs=asked.inputs[:0:-1]), tmp_path / "other"))
    first.until(begun)
    second.until(begun)
    for number in range(2):
        (hold / f"{number}").touch()
    first.end()
    second.end()
    assert first.said is second.said is None


def test_where_nothing_can_be_kept_all_make_it_one_after_the_other(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.results.SPARE_BYTES", 2**62)
    asked = unique(tmp_path / "media", b"one")
    both = [Asked(asked), Asked(elsewhere(asked, tmp_path / "other"))]
    for one in both:
        one.end()
    assert runs(broker) == 2


def test_where_there_can_be_no_turn_nobody_waits(broker: Broker, tmp_path: Path) -> None:
    (broker.settings.state_dir / "claims").write_text("in the way")
    drive(broker, asked := request(tmp_path / "media", b"one"))
    assert made(asked) == [fakework.expected(b"one")]


# Turns


def test_a_turn_is_taken_once_and_told_who_has_it(tmp_path: Path) -> None:
    one, two = Claim(tmp_path / "claims/a", "job-one"), Claim(tmp_path / "claims/a", "job-two")
    assert one.take()
    assert not two.take()
    assert two.holder == "job-one"
    one.leave()
    assert two.take()
    assert not one.take()
    assert one.holder == "job-two"
    two.leave()
    two.leave()
    assert not list((tmp_path / "claims").iterdir())


def test_the_name_of_one_that_died_misleads_nobody(broker: Broker, tmp_path: Path) -> None:
    """Who has come after it has not said its own name yet: that is looked at twice."""
    asked = request(tmp_path / "media", b"one")
    names = iter(["dead", "living", "living"])
    looked = []

    class Misleading(Claim):
        def take(self) -> bool:
            self.holder = next(names, "")
            looked.append(self.holder)
            return not self.holder

    recall.Claim, before = Misleading, recall.Claim  # type: ignore[misc]
    try:
        broker.driven = lambda job: job == "living"  # type: ignore[method-assign]
        told = drive(broker, asked)
    finally:
        recall.Claim = before  # type: ignore[misc]
    assert looked == ["dead", "living", "living", ""]
    assert notes(told)[0] == "waiting for job living, which is making the same"
    assert attempts(broker, asked)
