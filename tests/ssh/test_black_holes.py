"""Servers that answer too slowly or not at all, and links that drop every packet: the job ends here all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.sshd import Server, needs_sshd
from tests.services.typed import Said
from tests.ssh.conftest import CLIP_BYTES, PATH
from tests.ssh.jobs import Command, Work, configure, heard_of, made_by, there, through, tried
from tests.ssh.network import FarServer, Network, network
from tests.ssh.wire import Behaviour, Wire, greet_and_stop, greet_and_trickle, nothing, says, trickle

pytestmark = needs_sshd

IMPATIENT = {"connect_timeout": 10, "silence": 10}
"""Of a target that is reached, and falls silent then: a busy machine must not be taken for that."""

LORISES = [nothing, trickle, greet_and_stop, greet_and_trickle]


# Slow-loris


@pytest.fixture(params=LORISES, ids=lambda behaviour: behaviour.__name__)
def loris(request: pytest.FixtureRequest, server: Server, offload_dirs: Path) -> Iterator[Behaviour]:
    """A server that only wastes one's time, as the target `box`."""
    with says(request.param) as port:
        configure(offload_dirs, server, url=through(server, port), connect_timeout=1)
        yield request.param


@pytest.mark.parametrize("clip", [100], indirect=True)
def test_slow_loris(loris: Behaviour, clip: Path) -> None:
    work = Work(clip)
    assert_done_here(work, work.type())


@pytest.mark.parametrize("loris", [greet_and_stop], indirect=True)
@pytest.mark.parametrize("clip", [100], indirect=True)
def test_slow_loris_and_no_fallback(loris: Behaviour, clip: Path) -> None:
    work = Work(clip, words=("--no-fallback",))
    work.assert_ended_there(work.type())


@pytest.mark.parametrize("bytes_through", [2500, 3500], ids=["in the login", "after the login"])
@pytest.mark.parametrize("clip", [100], indirect=True)
def test_slow_loris_later(bytes_through: int, cable: Wire, server: Server, offload_dirs: Path, clip: Path) -> None:
    configure(offload_dirs, server, url=through(server, cable.port), **IMPATIENT)
    cable.jam(after=bytes_through)
    work = Work(clip)
    assert_done_here(work, work.type())
    assert cable.jammed.is_set()


def assert_done_here(work: Work, said: Said) -> None:
    assert said.code == 0, said.err
    work.assert_published()
    assert tried(said)[-1] == ("local", "done")
    assert said.err.count("going on with local") == 1
    assert "box: " in said.err


# A black hole


def test_black_hole_that_accepts_and_answers_nothing(box: Server, clip: Path) -> None:
    box.pause()
    work = Work(clip)
    assert_done_here(work, work.type())


@pytest.fixture
def net() -> Iterator[Network]:
    """A network of its own."""
    with network() as made:
        yield made


@pytest.fixture
def far(net: Network, tmp_path: Path, offload_dirs: Path) -> Iterator[Server]:
    """A server at the far end of the network, as the target `box`."""
    server = FarServer(tmp_path / "far", net, {"PATH": PATH})
    server.start()
    configure(offload_dirs, server, **IMPATIENT)
    yield server
    server.kill()


def come_to(command: Command, work: Work, server: Server, net: Network, stage: str) -> None:
    """Wait until a command is in a stage, which it does not leave before the test does something."""
    if stage == "upload":
        net.slow()
        command.comes_to(lambda: there(server, "parts/*/*"))
    if stage in ("run", "download"):
        command.comes_to(heard_of)
    if stage == "download":
        net.slow()
        work.go_on()
        command.comes_to(lambda: list(work.outputs[0].parent.glob(".*.part")))


def test_black_hole_before_the_start(net: Network, far: Server, clip: Path) -> None:
    net.drop()
    work = Work(clip, before=net.on("near"))
    said = work.type()
    assert_done_here(work, said)
    assert tried(said) == [("local", "done")]
    assert "no answer from" in said.err


@pytest.mark.parametrize("stage", ["upload", "run", "download"])
def test_black_hole_in(net: Network, far: Server, clip: Path, stage: str) -> None:
    size = CLIP_BYTES if stage == "download" else 1000
    work = Work(clip, before=net.on("near"), size=size)
    with work.typed() as command:
        come_to(command, work, far, net, stage)
        net.drop()
        work.assert_moved_here(work.end(command), stage)


@pytest.mark.parametrize("stage", ["upload", "run", "download"])
def test_black_hole_that_ends_in_time_in(net: Network, far: Server, clip: Path, stage: str, patience: None) -> None:
    """The job goes on there: one attempt, and nothing is sent twice that had arrived."""
    work = Work(clip, before=net.on("near"), size=CLIP_BYTES if stage == "download" else 1000)
    with work.typed() as command:
        come_to(command, work, far, net, stage)
        net.drop()
        sent = net.sent
        command.comes_to(lambda: "waiting for it" in command.said)
        net.carry()
        said = work.end(command)
    assert said.code == 0, said.err
    work.assert_published()
    assert tried(said) == [("box", "done")]
    assert made_by(said) == [1]
    assert stage == "upload" or net.sent - sent < CLIP_BYTES // 10


def test_black_hole_and_no_fallback(net: Network, far: Server, clip: Path) -> None:
    """The job may be going on there: the same command takes it up when the target is back."""
    work = Work(clip, before=net.on("near"), words=("--no-fallback",))
    with work.typed() as command:
        come_to(command, work, far, net, "run")
        net.drop()
        lost = command.end()
    work.assert_ended_there(lost)
    net.carry()
    said = work.type()
    assert said.code == 0, (lost.err, said.err)
    assert said.document["job"] == lost.document["job"]
    assert tried(said) == [("box", "done")]
    assert made_by(said) == [1]
    work.assert_published()
