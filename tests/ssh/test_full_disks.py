"""Disks that are full, there or here: a clean error, nothing half-written, and no work done twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.sshd import Server, needs_sshd
from tests.executors.test_local import tmpfs
from tests.ssh.conftest import CLIP_BYTES
from tests.ssh.jobs import Work, configure, made_by, tried
from tests.ssh.wire import Wire

pytestmark = needs_sshd

SMALL_BYTES = 4 * 2**20


@pytest.fixture
def small_box(server: Server, offload_dirs: Path) -> Iterator[Path]:
    """The server with a disk of 4 MB, as the target `box`."""
    with tmpfs(server.folder) as root:
        configure(offload_dirs, server, url=f"ssh://127.0.0.1:{server.port}{root}")
        yield root


def test_disk_full_there(small_box: Path, clip: Path) -> None:
    work = Work(clip)
    said = work.type()
    work.assert_moved_here(said, "upload")
    assert "full" in said.err
    assert not list(small_box.glob("parts/*/*.tmp"))


def test_disk_full_there_and_no_fallback(small_box: Path, clip: Path) -> None:
    work = Work(clip, words=("--no-fallback",))
    said = work.type()
    assert said.code == 8, said.err
    assert "box: " in said.err
    assert "full" in said.err
    work.assert_nothing_published()


@pytest.mark.parametrize("clip", [1000], indirect=True)
def test_disk_full_there_in_the_run(small_box: Path, clip: Path) -> None:
    work = Work(clip, size=2 * SMALL_BYTES)
    said = work.type()
    work.assert_moved_here(said, "run")
    assert "full" in said.err


def test_disk_full_here(cable: Wire, clip: Path) -> None:
    """The result waits there; once there is room here, the same command brings it, and sends nothing again."""
    with tmpfs(clip.parent) as small:
        work = Work(clip, size=SMALL_BYTES // 2, out=small)
        filler = small / "filler"
        filler.write_bytes(bytes(SMALL_BYTES * 3 // 4))
        full = work.type()
        assert full.code == 8, full.err
        assert f"the result cannot be stored in {small}" in full.err
        assert [path.name for path in small.iterdir()] == ["filler"]
        filler.unlink()
        before = cable.up
        said = work.type()
        assert said.code == 0, said.err
        work.assert_published()
    assert said.document["job"] == full.document["job"]
    assert tried(said) == [("box", "done")]
    assert made_by(said) == [1]
    assert cable.up - before < CLIP_BYTES // 100
