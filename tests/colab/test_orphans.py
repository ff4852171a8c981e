"""Runtimes that several commands take at once, that killed ones leave behind, and that a keeper keeps."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.colab.conftest import configure, keepers
from tests.colab.double import Double
from tests.colab.jobs import LOST, THERE, assert_ended, assert_nothing_left, at_work, taken, there
from tests.offload.background import kill as end
from tests.offload.background import state, until
from tests.services.typed import FAKEWORK, QUICK, offload, type_
from tests.ssh.conftest import clip
from tests.ssh.jobs import Command, Work

__all__ = ["clip"]

pytestmark = pytest.mark.usefixtures("nothing_is_left")

small = pytest.mark.parametrize("clip", [1000], indirect=True)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be quiet for a while."""
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "100")


def kill_keepers(dirs: Path) -> None:
    for process in keepers(dirs):
        end(process)


def kill(command: Command, dirs: Path) -> None:
    """Kill a command, and whatever else could remember the runtime."""
    command.process.kill()
    command.process.wait()
    kill_keepers(dirs)


def killed_at_work(google: Double, work: Work, dirs: Path) -> str:
    """Type a command, and kill everything in the middle of its run; the runtime that is held."""
    with work.typed() as command:
        held = taken(command, google)
        command.comes_to(lambda: at_work(google.runtimes[held]))
        kill(command, dirs)
    return held


def assert_told(err: str) -> None:
    """A line says what is held, since when, and how to be rid of it."""
    (line,) = [line for line in err.splitlines() if "still holds" in line]
    assert "colab still holds a Colab runtime (T4), taken on 20" in line
    assert "`offload targets release colab`" in line


@small
@pytest.mark.parametrize("count", [4, pytest.param(8, marks=pytest.mark.soak)])
def test_commands_at_once_take_one_runtime(count: int, google: Double, clip: Path) -> None:
    works = [Work(sibling(clip, number)) for number in range(count)]
    with ExitStack() as stack:
        commands = [stack.enter_context(work.typed()) for work in works]
        for work in works:
            work.go_on()
        for work, command in zip(works, commands, strict=True):
            assert_ended(work, work.end(command), THERE)
    assert google.faults.calls["assign"] == 1
    assert len(google.runtimes) == 1
    assert_nothing_left(google)


def sibling(clip: Path, number: int) -> Path:
    """Another clip, in a folder of its own."""
    path = clip.with_name(str(number)) / "clip.dat"
    path.parent.mkdir()
    path.write_text(str(number))
    return path


@small
def test_the_same_command_takes_up_what_a_killed_one_left(google: Double, clip: Path, offload_dirs: Path) -> None:
    work = Work(clip)
    held = killed_at_work(google, work, offload_dirs)
    said = work.type()
    assert_told(said.err)
    assert_ended(work, said, THERE)
    assert (list(google.runtimes), google.faults.calls["assign"]) == ([held], 1)
    assert_nothing_left(google, but_kernels=True)  # the killed one's


@small
def test_what_a_killed_command_left_can_be_given_back(google: Double, clip: Path, offload_dirs: Path) -> None:
    work = Work(clip)
    held = killed_at_work(google, work, offload_dirs)
    released = offload(clip.parent, "targets", "release", "colab")
    assert (released.code, released.err) == (0, "a Colab runtime (T4) is given back\n")
    assert google.control.ended == {held: "released"}
    said = work.type()
    assert_ended(work, said, LOST, THERE)
    assert "still holds" not in said.err
    assert google.faults.calls["assign"] == 2
    assert_nothing_left(google)


@small
def test_one_that_was_asked_for_by_a_command_that_was_killed_then_is_found(
    google: Double, clip: Path, offload_dirs: Path
) -> None:
    google.faults.slow["assign"] = 600
    work = Work(clip)
    with work.typed() as command:
        held = taken(command, google)
        kill(command, offload_dirs)
    google.faults.slow.clear()
    assert json.loads((offload_dirs / "state/colab/colab/runtime.json").read_text())["endpoint"] == ""
    said = work.type()
    assert_told(said.err)
    assert_ended(work, said, THERE)
    assert (list(google.control.assignments), google.faults.calls["assign"]) == ([held], 1)
    assert_nothing_left(google)


@small
def test_while_a_follower_works_there_it_is_kept_and_given_back_after(
    google: Double, clip: Path, offload_dirs: Path
) -> None:
    configure(offload_dirs, google, idle_seconds=0.5)
    hold = ("--hold", str(clip.parent))
    (job,) = type_([*FAKEWORK, *QUICK, *hold, "--detach", clip], clip.parent).lines
    until(lambda: any(map(at_work, google.runtimes.values())), "the script")
    assert_another_keeps_it(google, offload_dirs)
    (held,) = google.runtimes
    (clip.parent / "0").touch()
    until(lambda: state(job) == "done", "the job's end")
    until(lambda: google.control.ended == {held: "released"}, "that it is given back")
    until(lambda: not keepers(offload_dirs), "the keeper's end")


@small
def test_what_is_to_be_kept_is_and_without_it_nothing_is(google: Double, clip: Path, offload_dirs: Path) -> None:
    configure(offload_dirs, google, idle_seconds=0.5)
    work = Work(clip, words=("--keep",))
    said = work.type()
    assert_ended(work, said, THERE)
    assert_another_keeps_it(google, offload_dirs)
    ((held, machine),) = google.runtimes.items()
    assert there(machine, "jobs/*/out/0/worked.bin")
    removed = offload(clip.parent, "jobs", "rm", said.document["job"])
    assert removed.code == 0, removed.err
    until(lambda: google.control.ended == {held: "released"}, "that it is given back")


def assert_another_keeps_it(google: Double, dirs: Path) -> None:
    """A keeper that is killed is replaced by the next command, and the other says, too, that it is in use."""
    until(lambda: google.faults.calls["keep-alive"], "that a keeper says so")
    kill_keepers(dirs)
    before, runtimes = google.faults.calls["keep-alive"], list(google.runtimes)
    assert offload(dirs, "jobs", "ls").code == 0
    until(lambda: google.faults.calls["keep-alive"] > before, "that another does")
    assert list(google.runtimes) == runtimes
    assert len(keepers(dirs)) == 1
