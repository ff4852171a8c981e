"""The Jupyter executor against a real server: it passes what every executor must, and keeps promises of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

import pytest

from executors.base import Executor
from executors.jupyter import JupyterExecutor
from tests.executors.conformance import ExecutorConformance
from tests.executors.jupyter_server import Server, jupyter
from tests.executors.sshd import free_port
from tests.executors.test_local import tmpfs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyter(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


class TestJupyter(ExecutorConformance):
    """What every executor must do."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, server: Server) -> Iterator[Executor]:
        with JupyterExecutor("jup", server.options()) as executor:
            yield executor

    @pytest.fixture(autouse=True)
    def _server(self, server: Server) -> None:
        self.server = server

    def unreachable(self) -> Executor:
        return JupyterExecutor("jup", self.server.options(url=f"jupyter+http://127.0.0.1:{free_port()}"))

    @contextmanager
    def small_disk(self) -> Iterator[Executor]:
        folder = self.server.files / f"small-{token_hex(4)}"
        folder.mkdir()
        with tmpfs(folder) as root:
            inside = root.relative_to(self.server.files)
            with JupyterExecutor("jup", self.server.options(root=inside)) as executor:
                yield executor
