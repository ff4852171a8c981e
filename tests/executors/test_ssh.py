"""The SSH executor against a real sshd: it passes what every executor must, and keeps promises of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executors.base import Executor
from executors.ssh import SSHExecutor
from tests.executors.conformance import ExecutorConformance
from tests.executors.sshd import Server, free_port, needs_sshd, sshd
from tests.executors.test_local import tmpfs

pytestmark = needs_sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("ssh")) as server:
        yield server


class TestSSH(ExecutorConformance):
    """What every executor must do."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, server: Server) -> Iterator[Executor]:
        with SSHExecutor("box", server.options()) as executor:
            yield executor

    @pytest.fixture(autouse=True)
    def _folder(self, server: Server, tmp_path: Path) -> None:
        self.server, self.folder = server, tmp_path

    def unreachable(self) -> Executor:
        return SSHExecutor("box", self.server.options(url=f"ssh://127.0.0.1:{free_port()}"))

    @contextmanager
    def small_disk(self) -> Iterator[Executor]:
        with tmpfs(self.folder) as root:
            url = f"ssh://127.0.0.1:{self.server.port}{root}"
            with SSHExecutor("box", self.server.options(url=url)) as executor:
                yield executor
