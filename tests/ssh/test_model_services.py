"""Services with models over SSH: the same outputs there as here, and the models and inputs travel once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executors.sshd import Server, needs_sshd
from tests.services.everywhere import USES, Use, assert_same_there_as_here
from tests.ssh.jobs import configure, there

pytestmark = needs_sshd


@pytest.mark.parametrize("use", USES, ids=lambda use: use.service)
@pytest.mark.usefixtures("patience")
def test_the_same_there_as_here(use: Use, server: Server, offload_dirs: Path, tmp_path: Path) -> None:
    configure(offload_dirs, server, silence=60)  # what loads torch may keep a busy machine from answering
    said = assert_same_there_as_here(use, tmp_path / "media", "box")
    payload = said.document["items"][0]["payload"]
    assert payload["sha256"] in [blob.name for blob in there(server, "blobs/*")]
    assert not there(server, "jobs/*")
    assert not [
        blob for blob in there(server, "blobs/*") if blob.stat().st_size == (tmp_path / "media/clip.mp4").stat().st_size
    ]
