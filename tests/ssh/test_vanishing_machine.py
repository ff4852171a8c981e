"""A machine that vanishes: its processes die at once with their pid namespace, and its disk is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.executors.sshd import needs_sshd
from tests.services.typed import STABILIZE, Said
from tests.ssh.conftest import CLIP_BYTES, Machine, started
from tests.ssh.jobs import TIMED, Work, configure, heard_of, made_by, through, tried, typed
from tests.ssh.wire import Wire, says, wire

pytestmark = needs_sshd

LOST_IN = ("upload", "run", "download")


@pytest.fixture
def cable(machine: Machine, offload_dirs: Path) -> Iterator[Wire]:
    """The wire to the machine, so that it can be caught in the middle of a transfer."""
    with wire(machine.port) as laid:
        configure(offload_dirs, machine, url=through(machine, laid.port))
        yield laid


def lose(machine: Machine, cable: Wire, work: Work, stage: str) -> Said:
    """Type the command, let the machine vanish in a stage, and wait for the end."""
    with work.typed() as command:
        if stage == "upload":
            cable.jam(after=CLIP_BYTES // 2)
            command.comes_to(cable.jammed.is_set)
        else:
            command.comes_to(heard_of)
        if stage == "download":
            cable.jam(after=work.size // 2)
            work.go_on()
            command.comes_to(cable.jammed.is_set)
        machine.vanish()
        cable.close()
        return work.end(command)


def work_for(stage: str, clip: Path, *words: str) -> Work:
    return Work(clip, words=words, size=CLIP_BYTES if stage == "download" else 1000)


@pytest.mark.parametrize("stage", LOST_IN)
def test_killed_in(machine: Machine, cable: Wire, clip: Path, stage: str) -> None:
    work = work_for(stage, clip)
    work.assert_moved_here(lose(machine, cable, work, stage), stage)


@pytest.mark.parametrize("stage", LOST_IN)
def test_killed_and_no_fallback_in(machine: Machine, cable: Wire, clip: Path, stage: str) -> None:
    work = work_for(stage, clip, "--no-fallback")
    work.assert_ended_there(lose(machine, cable, work, stage))


def test_what_came_back_before_it_was_killed_is_not_done_again(machine: Machine, clip: Path) -> None:
    second = clip.with_name("second.dat")
    second.write_bytes(b"2")
    work = Work(clip, second)
    with work.typed() as command:
        work.go_on(0)
        command.comes_to(work.outputs[0].exists)
        machine.vanish()
        said = work.end(command)
    assert said.code == 0, said.err
    work.assert_published()
    assert tried(said) == [("box", "lost"), ("local", "done")]
    assert made_by(said) == [1, 2]


@pytest.fixture
def building(tmp_path: Path, offload_dirs: Path, bare_python: Path) -> Iterator[tuple[Machine, Event]]:
    """A bare machine whose package index never answers, and whether that was asked: then it builds an environment."""
    asked = Event()

    def hang(over: Event) -> Iterable[bytes]:
        asked.set()
        return ()

    with says(hang) as port:
        index = f"http://127.0.0.1:{port}/simple"
        path = f"{bare_python}:/usr/bin:/bin"
        machine = Machine(tmp_path / "machine", PATH=path, PIP_INDEX_URL=index, UV_INDEX_URL=index)
        for it in started(machine, offload_dirs):
            yield it, asked


@pytest.mark.parametrize("words", [(), ("--no-fallback",)], ids=["fallback", "no fallback"])
def test_killed_in_environment_building(building: tuple[Machine, Event], footage: Path, words: tuple[str, ...]) -> None:
    machine, asked = building
    stabilize = [*STABILIZE, footage, "-o", "there.mp4", "--preset", "ultrafast", "--json", *words]
    with typed(stabilize, footage.parent) as command:
        command.comes_to(asked.is_set)
        machine.vanish()
        said = command.end()
    if words:
        assert said.code == 5, said.err
        assert [target for target, _ in tried(said)] == ["box"]
        assert "box: " in said.err
        assert list(footage.parent.glob("*.mp4")) == [footage]
    else:
        assert (said.code, tried(said)) == (0, [("box", "lost"), ("local", "done")]), said.err
        assert set(said.document["attempts"][0]["timings"]) == TIMED["run"]
        assert said.err.count("going on with local") == 1
        assert (footage.parent / "there.mp4").stat().st_size > 1000
