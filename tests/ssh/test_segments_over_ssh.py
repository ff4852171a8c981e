"""A machine that vanishes in the middle of a long clip: what it had finished is not done again, and shows nowhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from broker.journal import Journal
from tests import media
from tests.executors.sshd import needs_sshd
from tests.remote_scripts.upscaled import made_networks
from tests.services.typed import STABILIZE, Said, Word
from tests.ssh.conftest import Machine
from tests.ssh.jobs import configure, tried, typed

pytestmark = needs_sshd

UPSCALE = (sys.executable, "-m", "services.upscale")
KEYFRAMES = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "20")


def recorded(dirs: Path) -> int:
    """How many pieces came here and are counted on."""
    place = dirs / "state/journal.sqlite3"
    if not place.exists():
        return 0
    with Journal(place) as journal:
        return sum(len(journal.checkpoints(job.id)) for job in journal.jobs())


def interrupted(machine: Machine, dirs: Path, command: Sequence[Word], folder: Path, after: int) -> Said:
    """Type a command for the machine, which vanishes as soon as so many of its pieces are here."""
    configure(dirs, machine, silence=20)
    with typed([*command, "-o", "moved.mp4", "--on", "box,local", "--json"], folder) as going:
        going.comes_to(lambda: recorded(dirs) >= after)
        machine.vanish()
        return going.end()


def assert_gone_on_with(said: Said, pieces: int) -> None:
    """It moved here, and no piece was made twice."""
    assert said.code == 0, said.err
    assert tried(said) == [("box", "lost"), ("local", "done")], said.err
    made: dict[Any, int] = {one["attempt"]: one["pieces"] for one in said.document["items"][0]["checkpoints"]}
    assert set(made) == {1, 2}
    assert sum(made.values()) == pieces
    assert f"going on from {made[1]} finished piece" in said.err


def assert_same_as_whole(dirs: Path, command: Sequence[Word], folder: Path) -> None:
    """What was moved has the hash of what is made here without an interruption."""
    with typed([*command, "-o", "whole.mp4", "--on", "local", "--json"], folder) as going:
        assert (said := going.end()).code == 0, said.err
    moved, whole = (sha256((folder / f"{name}.mp4").read_bytes()).hexdigest() for name in ("moved", "whole"))
    assert moved == whole


@pytest.mark.usefixtures("impatience")
def test_stabilise_goes_on_here_with_the_same_bytes(machine: Machine, offload_dirs: Path, tmp_path: Path) -> None:
    """It has watched all four segments and steadied one."""
    media.clip(tmp_path / "clip.mp4", 64, rate=10, video=KEYFRAMES)
    command = (*STABILIZE, "clip.mp4", "--preset", "veryslow")
    assert_gone_on_with(interrupted(machine, offload_dirs, command, tmp_path, after=5), pieces=8)
    assert_same_as_whole(offload_dirs, command, tmp_path)


@pytest.mark.usefixtures("impatience")
def test_upscale_goes_on_here_with_the_same_bytes(machine: Machine, offload_dirs: Path, tmp_path: Path) -> None:
    media.clip(tmp_path / "clip.mp4", 6, (64, 48), video=KEYFRAMES)
    shutil.copy(made_networks() / "compact.pth", tmp_path / "tiny.pth")
    command = (*UPSCALE, "clip.mp4", "--model", "tiny.pth", "--threads", "1")
    assert_gone_on_with(interrupted(machine, offload_dirs, command, tmp_path, after=1), pieces=4)
    assert_same_as_whole(offload_dirs, command, tmp_path)
