"""Slots: never more jobs on a target than it has, and none is lost with who held it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.journal import Journal
from broker.slots import Slots
from tests.offload.background import until
from tests.services.typed import ROOT

LONG = 3600.0
HOLD = "import sys, time; from pathlib import Path; from broker.slots import Slots;"
HOLD += (
    "slot = Slots(Path(sys.argv[1]), 3600).take('box', 1, 'held'); print(slot is not None, flush=True); time.sleep(600)"
)


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the one slot of `box`."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        try:
            yield process
        finally:
            process.kill()


def test_there_are_as_many_as_it_was_said_and_each_target_has_its_own(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots", LONG)
    first, second = slots.take("box", 2, "a"), slots.take("box", 2, "b")
    assert first
    assert second
    assert slots.take("box", 2, "c") is None
    assert sorted(slots.holders("box")) == ["a", "b"]
    assert slots.take("box-2", 1, "d")
    assert slots.take("box", 3, "e")
    first.free()
    first.free()
    assert slots.take("box", 3, "f")


def test_a_killed_holder_frees_its_slot(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots", LONG)
    with holder(tmp_path / "slots") as process:
        assert slots.take("box", 1, "a") is None
        assert list(slots.holders("box")) == ["held"]
        process.kill()
        process.wait()
        assert slots.take("box", 1, "a")


def test_a_holder_that_is_stopped_for_long_keeps_nobody_out(tmp_path: Path) -> None:
    patient, impatient = Slots(tmp_path / "slots", LONG), Slots(tmp_path / "slots", 1.0)
    with holder(tmp_path / "slots") as process:
        process.send_signal(signal.SIGSTOP)
        until(lambda: not list(impatient.holders("box")), "that it gives no sign")
        assert patient.take("box", 1, "a") is None
        assert impatient.take("box", 1, "a")
        assert impatient.take("box", 1, "b") is None


def test_a_holder_that_lives_keeps_its_slot_for_ever(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots", 30.0)
    with holder(tmp_path / "slots"):
        mark = tmp_path / "slots/box.0"
        before = mark.read_text()
        until(lambda: mark.read_text() != before, "a sign of life")
        assert slots.take("box", 1, "a") is None


def test_a_child_that_is_started_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots", LONG)
    slot = slots.take("box", 1, "a")
    assert slot
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        slot.free()
        assert slots.take("box", 1, "b")
        child.kill()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be used"):
        Slots(tmp_path / "slots", LONG).take("box", 1, "a")


def _hurry(folder: Path, times: int) -> None:
    slots, alone = Slots(folder / "slots", LONG), folder / "alone"
    with Journal(folder / "journal.sqlite3") as journal:
        while times:
            with journal.turn():
                slot = slots.take("box", 1, str(os.getpid()))
            if slot:
                alone.touch(exist_ok=False)  # fails where another is there
                alone.unlink()
                slot.free()
                times -= 1


def test_never_two_at_once_however_they_hurry(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    crowd = [fork.Process(target=_hurry, args=(tmp_path, 20)) for _ in range(6)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
    assert [process.exitcode for process in crowd] == [0] * 6
