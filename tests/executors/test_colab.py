"""The Colab executor against the double: it passes what every executor must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executors.base import Executor
from executors.colab import ColabExecutor
from tests.colab.double import Double, double
from tests.executors.conformance import ExecutorConformance
from tests.executors.sshd import free_port
from tests.executors.test_local import may_mount

MOUNT = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", "."]


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with double(tmp_path_factory.mktemp("colab") / "google") as google:
        google.log_in()
        yield google


class TestColab(ExecutorConformance):
    """What every executor must do."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, google: Double) -> Iterator[Executor]:
        with ColabExecutor("colab", google.options()) as executor:
            yield executor

    @pytest.fixture(autouse=True)
    def _google(self, google: Double, tmp_path: Path) -> None:
        self.google, self.folder = google, tmp_path

    def unreachable(self) -> Executor:
        return ColabExecutor("colab", self.google.options(api=f"http://127.0.0.1:{free_port()}"))

    @contextmanager
    def small_disk(self) -> Iterator[Executor]:
        if not may_mount(self.folder):
            pytest.skip("mounting a small tmpfs is not allowed here")
        with double(self.folder / "google") as google:
            google.log_in()
            colab = ColabExecutor("colab", google.options())
            with colab:
                done = colab.run(MOUNT)  # in the mount namespace of the machine, which goes with it
                assert done.status == 0, done.stderr
            with colab:
                yield colab
