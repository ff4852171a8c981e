"""A machine that vanishes in the middle of a long clip: what it had finished is not done again, and shows nowhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from broker.journal import Journal
from services.base.compare import media as compared
from tests import media
from tests.executors.sshd import needs_sshd
from tests.remote_scripts.upscaled import made_networks
from tests.services.typed import STABILIZE, Said, Word
from tests.ssh.conftest import PATH, Machine, started
from tests.ssh.jobs import configure, tried, typed

pytestmark = needs_sshd

UPSCALE = (sys.executable, "-m", "services.upscale")
FFMPEG = """#!/bin/sh
case "$*" in *rawvideo*) {does} ;; esac
exec {ffmpeg} "$@"
"""
STEADIES_ONE = "mkdir {folder}/once 2>/dev/null || exec sleep 600"
READS_72 = f'{{ffmpeg}} "$@" | (head -c {72 * 64 * 48 * 3}; exec sleep 600); exit'
"""How an ffmpeg comes to a stop: when it has steadied one segment, or read one and a half to be enlarged."""

KEYFRAMES = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "20")


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path, offload_dirs: Path) -> Iterator[Machine]:
    """A machine that can vanish, as the target `box`, with an ffmpeg that comes to a stop."""
    names = {"ffmpeg": compared.executable(), "folder": tmp_path}
    halting = tmp_path / "ffmpeg"
    halting.write_text(FFMPEG.format(does=request.param.format(**names), **names))
    halting.chmod(0o755)
    yield from started(Machine(tmp_path / "machine", PATH=PATH, IMAGEIO_FFMPEG_EXE=str(halting)), offload_dirs)


def recorded(dirs: Path) -> int:
    """How many pieces came here and are counted on."""
    place = dirs / "state/journal.sqlite3"
    if not place.exists():
        return 0
    with Journal(place) as journal:
        return sum(len(journal.checkpoints(job.id)) for job in journal.jobs())


def interrupted(machine: Machine, dirs: Path, command: Sequence[Word], folder: Path, after: int) -> Said:
    """Type a command for the machine, which vanishes as soon as so many of its pieces are here."""
    configure(dirs, machine)
    with typed([*command, "-o", "moved.mp4", "--on", "box,local", "--json"], folder) as going:
        going.comes_to(lambda: recorded(dirs) >= after)
        machine.vanish()
        return going.end()


def assert_gone_on_with(said: Said, first: int, then: int) -> None:
    """It moved here, and no piece was made twice."""
    assert said.code == 0, said.err
    assert tried(said) == [("box", "lost"), ("local", "done")], said.err
    made: dict[Any, int] = {one["attempt"]: one["pieces"] for one in said.document["items"][0]["checkpoints"]}
    assert made == {1: first, 2: then}
    assert f"going on from {first} finished piece" in said.err


def assert_same_as_whole(dirs: Path, command: Sequence[Word], folder: Path) -> None:
    """What was moved has the hash of what is made here without an interruption."""
    with typed([*command, "-o", "whole.mp4", "--on", "local", "--json"], folder) as going:
        assert (said := going.end()).code == 0, said.err
    moved, whole = (sha256((folder / f"{name}.mp4").read_bytes()).hexdigest() for name in ("moved", "whole"))
    assert moved == whole


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("machine", [STEADIES_ONE], indirect=True, ids=["one is steadied"])
def test_stabilise_goes_on_here_with_the_same_bytes(machine: Machine, offload_dirs: Path, tmp_path: Path) -> None:
    """It has watched all four segments and steadied one."""
    media.clip(tmp_path / "clip.mp4", 64, rate=10, video=KEYFRAMES)
    command = (*STABILIZE, "clip.mp4", "--preset", "veryslow")
    assert_gone_on_with(interrupted(machine, offload_dirs, command, tmp_path, after=5), 5, 3)
    assert_same_as_whole(offload_dirs, command, tmp_path)


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("machine", [READS_72], indirect=True, ids=["one is enlarged"])
def test_upscale_goes_on_here_with_the_same_bytes(machine: Machine, offload_dirs: Path, tmp_path: Path) -> None:
    media.clip(tmp_path / "clip.mp4", 6, (64, 48), video=KEYFRAMES)
    shutil.copy(made_networks() / "compact.pth", tmp_path / "tiny.pth")
    command = (*UPSCALE, "clip.mp4", "--model", "tiny.pth", "--threads", "1")
    assert_gone_on_with(interrupted(machine, offload_dirs, command, tmp_path, after=1), 1, 3)
    assert_same_as_whole(offload_dirs, command, tmp_path)
