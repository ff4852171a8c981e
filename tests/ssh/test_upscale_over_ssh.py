"""Upscale over SSH: the same bytes there as here, whichever network it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executors.sshd import Server, needs_sshd
from tests.services.enlarging import KINDS, assert_same_there_as_here
from tests.ssh.jobs import configure

pytestmark = needs_sshd


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("patience")
def test_the_same_there_as_here(kind: str, server: Server, offload_dirs: Path, tmp_path: Path) -> None:
    configure(offload_dirs, server, silence=60)  # what loads torch may keep a busy machine from answering
    assert_same_there_as_here(tmp_path / "media", kind, "box")
