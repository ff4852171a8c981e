"""Links to a runtime that break, and tokens that end: the job goes on where it is, in the same attempt."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError

from broker import policy, settings
from broker.broker import Broker
from broker.events import Progress
from broker.stop import Stop
from executors.base import PART_BYTES, Lost, Span
from executors.colab import ColabExecutor, access
from executors.jupyter import kernel
from tests.broker.jobs import notes, only_job, request, right
from tests.colab.conftest import configure
from tests.colab.double import Double, double
from tests.colab.double.runtime import Runtime
from tests.colab.jobs import THERE, assert_ended, assert_nothing_left, at_work, furnish, in_the_middle, wire_to
from tests.ssh.conftest import clip
from tests.ssh.jobs import Work

__all__ = ["clip"]

pytestmark = pytest.mark.usefixtures("nothing_is_left")

SMALL, LARGE, HUGE = 1000, 8 * PART_BYTES, 25 * PART_BYTES
STREAMS = ColabExecutor.streams
SLACK = 2_000_000
"""Bytes of all that is said beside the data."""

FIVE_MINUTES = 300.0

small = pytest.mark.parametrize("clip", [SMALL], indirect=True)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """Google, with a user who holds a runtime behind a wire."""
    with double(tmp_path_factory.mktemp("cloud") / "google", wired=True) as google:
        furnish(google)
        google.log_in()
        with ColabExecutor("colab", google.options()):
            pass
        yield google


@pytest.fixture
def google(cloud: Double, offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """The same, as the target `colab`: what is away comes back in time."""
    configure(offload_dirs, cloud, state=cloud.folder / "state")
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "100")
    cloud.faults.calls.clear()
    yield cloud
    cloud.control.token_seconds = 3600


@pytest.fixture
def machine(google: Double) -> Runtime:
    """The runtime that is held."""
    (machine,) = google.runtimes.values()
    return machine


# The link


@small
def test_a_link_that_is_cut_for_a_moment_costs_nothing(
    google: Double, machine: Runtime, clip: Path, offload_dirs: Path
) -> None:
    configure(offload_dirs, google, state=google.folder / "state", silence=2, connect_timeout=5)
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(lambda: at_work(machine))
        machine.cut()
        command.comes_to(lambda: "waiting for it" in command.said)
        machine.mend()
        said = work.end(command)
    assert_ended(work, said, THERE)
    assert "going on" not in said.err
    assert google.faults.calls["assign"] == 0
    assert_nothing_left(google)


@small
def test_connections_that_break_in_a_run_are_made_anew(google: Double, machine: Runtime, clip: Path) -> None:
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(lambda: at_work(machine))
        machine.drop()
        said = work.end(command)
    assert_ended(work, said, THERE)
    assert "waiting for it" not in said.err
    assert_nothing_left(google)


def test_one_that_breaks_again_while_it_is_made_is_lost_and_nobody_waits_for_it(
    google: Double, machine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reset(*_: object, **__: object) -> None:
        raise ConnectionClosedError(None, None) from ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    with ColabExecutor("colab", google.options()) as colab:
        monkeypatch.setattr(kernel.client, "connect", reset)
        machine.drop()
        with pytest.raises(Lost, match=r"colab: no connection to .*: connection reset by peer"):
            colab.run(["sleep", "20"], timeout=600)  # it may have begun, and the next tests look for what is left


# Tokens


@pytest.mark.parametrize("clip", [LARGE, pytest.param(HUGE, marks=pytest.mark.soak)], indirect=True)
def test_proxy_tokens_that_end_in_an_upload(google: Double, machine: Runtime, clip: Path) -> None:
    """What had arrived is not sent again: of each stream, what was under way is."""
    work, wire, before = Work(clip), wire_to(machine), wire_to(machine).up
    with work.typed() as command:
        in_the_middle(command, wire, base64(clip.stat().st_size) // 2, machine.expire_tokens)
        said = work.end(command)
    assert_ended(work, said, THERE)
    assert 0 < refused(machine, "PUT") <= STREAMS
    assert wire.up - before < base64(clip.stat().st_size) + STREAMS * base64(PART_BYTES) + SLACK
    assert_nothing_left(google)


@pytest.mark.parametrize("size", [LARGE, pytest.param(HUGE, marks=pytest.mark.soak)])
@small
def test_all_tokens_that_end_in_a_download(google: Double, machine: Runtime, clip: Path, size: int) -> None:
    """The access token is renewed once for all streams."""
    work, wire = Work(clip, size=size), wire_to(machine)
    renewed: list[int] = []

    def expire() -> None:
        renewed.append(len(google.oauth.exchanged))
        google.oauth.expire()
        machine.expire_tokens()

    with work.typed() as command:
        command.comes_to(lambda: at_work(machine))
        before = wire.down
        work.go_on()
        in_the_middle(command, wire, size // 2, expire)
        said = work.end(command)
    assert_ended(work, said, THERE)
    assert wire.down - before < size + SLACK
    assert len(google.oauth.exchanged) - renewed[0] == 1
    assert_nothing_left(google)


def base64(size: int) -> int:
    return size * 4 // 3


def refused(machine: Runtime, method: str) -> int:
    """How many requests of a kind the server did not let in."""
    return len([line for line in machine.said().splitlines() if f" 401 {method} " in line])


@small
def test_tokens_that_are_good_for_seconds_last_for_a_job(google: Double, machine: Runtime, clip: Path) -> None:
    google.control.token_seconds = 4
    machine.expire_tokens()  # those that are good for longer
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(lambda: at_work(machine))
        command.comes_to(lambda: time.time() > max(machine._passes.values()))
        said = work.end(command)
    assert_ended(work, said, THERE)
    assert google.faults.calls["runtime-proxy-token"] > 1


@pytest.mark.parametrize(("good", "renewed"), [(3600, 3300), (400, 200)])
def test_a_proxy_token_is_renewed_before_it_ends(
    good: int, renewed: int, google: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: clock.now))
    google.control.token_seconds = good
    (tmp_path / "part").write_bytes(b"part")
    with ColabExecutor("colab", google.options()) as colab:
        fetched = []
        for seconds in (0, renewed - 1, 2, renewed - 1, 2):
            clock.now += seconds
            colab.put(tmp_path / "part", Span(0, 4), "files/0")
            fetched.append(google.faults.calls["runtime-proxy-token"])
    assert fetched == [1, 1, 2, 2, 3]


# Five minutes offline


class Night(Stop):
    """Sleeps in no time, by a clock of its own. For its first five minutes no connection can be made from here."""

    def __init__(self, falls: Callable[[], object], ends: Callable[[], object]) -> None:
        super().__init__()
        self.now = 0.0
        self._falls, self._ends, self._until = falls, ends, 0.0

    def fall(self) -> None:
        """Let it begin, if it has not."""
        if not self._until:
            self._until = self.now + FIVE_MINUTES
            self._falls()

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        assert self._until, "nobody had to sleep by day"
        self.now += seconds
        if self.now >= self._until:
            self._ends()

    def clock(self) -> float:
        """Seconds since some moment."""
        return self.now


@pytest.fixture
def night(google: Double, machine: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Night]:
    """A night in which the job there ends alone, and tokens do. The broker and the tokens' renewal go by its clock."""
    connect, cut_off = socket.create_connection, ExitStack()

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    def falls() -> None:
        monkeypatch.setattr(socket, "create_connection", unreachable)
        cut_off.callback(monkeypatch.setattr, socket, "create_connection", connect)
        cut_off.enter_context(google.offline())
        machine.expire_tokens()
        machine.drop()
        (tmp_path / "0").touch()

    with cut_off:
        night = Night(falls, cut_off.close)
        monkeypatch.setattr(policy, "Patience", partial(policy.Patience, clock=night.clock))
        monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=night.clock))
        yield night


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")  # the keeper, which nobody waits for
def test_a_job_whose_laptop_was_offline_for_five_minutes_goes_on_there(
    google: Double, night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "600")
    asked = request(tmp_path / "media", b"one", hold=str(tmp_path))
    told: list[Any] = []
    with Broker(settings.load()) as broker:
        for event in broker.drive(broker.submit(asked), night):
            told.append(event)
            if isinstance(event, Progress):
                night.fall()
        attempts = broker.journal.attempts(only_job(broker).id)
    assert right(asked)
    assert [(attempt.target, attempt.state) for attempt in attempts] == [THERE]
    assert FIVE_MINUTES <= night.now < 600
    assert len([line for line in notes(told) if "waiting for it" in line]) == 1
    assert (google.faults.calls["assign"], google.faults.calls["runtime-proxy-token"]) == (0, 2)
    assert_nothing_left(google, but_kernels=True)  # who was offline could end none
