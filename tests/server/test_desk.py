"""Who looks after jobs: each is started, none twice, and no more processes than can be of use."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker import followers, settings
from broker.broker import Broker
from broker.errors import LimitError
from server import desk as desks
from server import folders
from server.access import Access
from server.client import Client
from server.desk import Desk
from tests.offload.background import followers as alive
from tests.offload.background import until
from tests.server.asking import NOISE, WAITING, away, end_all, no_place
from tests.server.serving import Serving

JOBS = 60


@pytest.fixture
def desk() -> Desk:
    return Desk(settings.load(), Access("0" * 40), 1)


@pytest.fixture
def seen(offload_dirs: Path) -> Iterator[list[int]]:
    """How many jobs are driven at a time, looked at all the while.

    A driver that is done may take long to be gone: those of jobs that are over are not counted.
    """
    counts, enough = [0], threading.Event()

    def look() -> None:
        with Broker(settings.load()) as broker:
            while not enough.wait(0.05):
                counts.append(sum(not broker.journal.job(job).state.over for job in broker.drivers()))

    looking = threading.Thread(target=look)
    looking.start()
    yield counts
    enough.set()
    looking.join()
    end_all()


def test_sixty_jobs_and_a_server_that_is_killed_in_the_middle(
    offload_dirs: Path, tmp_path: Path, seen: list[int]
) -> None:
    away(offload_dirs)
    (clip := tmp_path / "clip.mp4").write_bytes(NOISE)
    answers, half, turn = dict[str, str](), threading.Event(), threading.Lock()

    def submit(first: int) -> None:
        with Client(serving.url, serving.token) as client:
            for number in range(first, JOBS, 2):
                terms = {} if number < 2 else WAITING
                answers[str(number)] = client.submit("stabilize", [clip], key=str(number), **terms).job
                with turn:
                    if len(answers) >= JOBS // 2 and not half.is_set():
                        serving.kill()
                        half.set()

    with Serving(tmp_path) as serving:
        clients = [threading.Thread(target=submit, args=(first,)) for first in range(2)]
        for client in clients:
            client.start()
        assert half.wait(300)
        serving.start()
        for client in clients:
            client.join()
        with Broker(settings.load()) as broker:
            there = [job.id for job in broker.journal.jobs(limit=10 * JOBS)]
            assert sorted(there) == sorted(answers.values()), "one is lost, or there twice"
            assert len(set(there)) == JOBS
            until(
                lambda: sum(job.state.over for job in broker.journal.jobs(JOBS)) == 2, "the end of those that can run"
            )
    assert max(seen) <= 2


def test_no_more_followers_than_can_run_and_one_that_waits(
    offload_dirs: Path, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "1")
    (clip := tmp_path / "clip.mp4").write_bytes(NOISE)
    with Serving(tmp_path) as serving, serving.client() as client:
        with no_place(settings.load()):
            asked = [client.submit("stabilize", [clip]).job for _ in range(5)]
            until(lambda: max(seen) == 2, "one that has its turn, and one that waits")
        assert [client.wait(job).state for job in asked] == ["failed"] * 5
    assert max(seen) == 2


def test_a_server_that_ends_leaves_jobs_to_those_who_see_to_them(
    offload_dirs: Path, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "1")
    (clip := tmp_path / "clip.mp4").write_bytes(NOISE)
    with no_place(settings.load()), Serving(tmp_path) as serving, serving.client() as client:
        job = client.submit("stabilize", [clip]).job
        until(alive, "its follower")
        assert serving.stop() == 130
    with Broker(settings.load()) as broker:
        until(lambda: broker.journal.job(job).state.over, "the job's end")


# Whatever fails is tried again


def test_what_cannot_be_done_now_ends_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[str]()

    def revive(broker: Broker) -> None:
        tried.append("revive")
        if len(tried) < 3:
            raise LimitError("the disk is full") if len(tried) == 1 else OSError("it does not answer")

    monkeypatch.setattr(followers, "revive", revive)
    with opened(desk):
        for count in (1, 2, 3):
            until(lambda count=count: len(tried) == count, "it is tried")
            desk.look_after()
        until(lambda: len(tried) == 4, "it goes on")


def test_jobs_that_come_at_once_are_seen_to_together(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seeing, go, times = threading.Event(), threading.Event(), list[float]()

    def revive(broker: Broker) -> None:
        times.append(time.monotonic())
        seeing.set()
        assert go.wait(60)

    monkeypatch.setattr(followers, "revive", revive)
    with opened(desk):
        assert seeing.wait(60)
        for _ in range(1000):
            desk.look_after()
        go.set()
        until(lambda: len(times) == 2, "those that came meanwhile are seen to")
        time.sleep(0.2)
        assert len(times) == 2


@pytest.mark.parametrize(("every", "times"), [(desks.SWEEP_SECONDS, 1), (0.0, 3)])
def test_it_is_swept_at_once_and_then_now_and_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, every: float, times: int
) -> None:
    rounds, swept = list[str](), list[str]()
    monkeypatch.setattr(desks, "SWEEP_SECONDS", every)
    monkeypatch.setattr(followers, "revive", lambda broker: rounds.append("round"))
    monkeypatch.setattr(desk.blobs, "sweep", lambda: swept.append("blobs"))
    monkeypatch.setattr(folders, "sweep", lambda broker: swept.append("jobs"))
    with opened(desk):
        for count in (1, 2, 3):
            until(lambda count=count: len(rounds) == count, "a round")
            desk.look_after()
    assert swept[: 2 * times] == ["blobs", "jobs"] * times
    assert (len(swept) == 2) == (times == 1)


@contextmanager
def opened(desk: Desk) -> Iterator[None]:
    """A desk at work, in an event loop of its own."""
    begun, enough = threading.Event(), threading.Event()

    async def work() -> None:
        with desk.open():
            begun.set()
            await asyncio.to_thread(enough.wait)

    working = threading.Thread(target=lambda: asyncio.run(work()))
    working.start()
    assert begun.wait(60)
    try:
        yield
    finally:
        enough.set()
        working.join()
