"""A target that is dead before the start, or whose connection dies: one good result, and a word of what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.base import PART_BYTES
from tests.executors.sshd import Server, needs_sshd
from tests.services.typed import Said
from tests.ssh.conftest import CLIP_BYTES
from tests.ssh.jobs import Work, heard_of, made_by, there, tried
from tests.ssh.wire import Wire

pytestmark = needs_sshd

FALLEN_BACK = "no other target can be reached"


def test_dead_before_the_start(box: Server, clip: Path) -> None:
    box.kill()
    work = Work(clip)
    said = work.type()
    assert said.code == 0, said.err
    work.assert_published()
    assert tried(said) == [("local", "done")]
    assert said.document["attempts"][0]["reason"] == FALLEN_BACK
    assert f"box: 127.0.0.1:{box.port}: connection refused" in said.err
    assert "going on with local" in said.err
    assert said.err.count("box") == 1


def test_dead_before_the_start_and_no_fallback_wanted(box: Server, clip: Path) -> None:
    box.kill()
    work = Work(clip, words=("--no-fallback",))
    work.assert_ended_there(work.type(), "connection refused")


def test_dead_before_the_start_and_no_other_allowed(box: Server, clip: Path) -> None:
    box.kill()
    work = Work(clip, words=("--on", "box"))
    work.assert_ended_there(work.type(), "connection refused")


def test_a_dead_target_is_asked_once_for_many_jobs(box: Server, clip: Path) -> None:
    box.kill()
    first, second = (Work(clip, words=("--overwrite",)).type() for _ in range(2))
    assert "asked again in" not in first.err
    assert "asked again in" in second.err
    assert first.code == second.code == 0


def test_connection_dies_in_the_run(box: Server, clip: Path) -> None:
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(heard_of)
        box.kill()
        work.assert_moved_here(work.end(command), "run")


def test_connection_comes_back_in_the_run(box: Server, clip: Path, patience: None) -> None:
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(heard_of)
        (blob,) = there(box, "blobs/*")
        sent = blob.stat().st_ino
        box.kill()
        box.start()
        assert_done_there(work, work.end(command))
    assert blob.stat().st_ino == sent


@pytest.mark.parametrize("clip", [5 * CLIP_BYTES], indirect=True)
def test_connection_comes_back_in_the_upload(cable: Wire, server: Server, clip: Path, patience: None) -> None:
    work = Work(clip)
    cable.jam(after=4 * CLIP_BYTES)
    with work.typed() as command:
        command.comes_to(cable.jammed.is_set)
        whole = [part for part in there(server, "parts/*/*") if part.name.isdigit()]
        before = cable.up
        cable.cut()
        assert_done_there(work, work.end(command))
    assert whole
    assert cable.up - before < 5 * CLIP_BYTES - PART_BYTES * len(whole) + 10**6


@pytest.mark.parametrize("clip", [100], indirect=True)
def test_connection_comes_back_in_the_download(cable: Wire, server: Server, clip: Path, patience: None) -> None:
    work = Work(clip, size=CLIP_BYTES)
    with work.typed() as command:
        command.comes_to(heard_of)
        cable.jam(after=CLIP_BYTES // 2)
        work.go_on()
        command.comes_to(cable.jammed.is_set)
        cable.cut()
        assert_done_there(work, work.end(command))


def assert_done_there(work: Work, said: Said) -> None:
    assert said.code == 0, said.err
    work.assert_published()
    assert tried(said) == [("box", "done")]
    assert made_by(said) == [1]
