"""The local executor, sharing files and not: it passes what every executor must."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from executors.base import Executor
from executors.local import LocalExecutor
from tests.executors.conformance import ExecutorConformance


class TestLocal(ExecutorConformance):
    """With files shared."""

    options: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
        root = tmp_path_factory.mktemp("target") / "root"
        with LocalExecutor("here", {"root": str(root), **cls.options}) as executor:
            yield executor

    def unreachable(self) -> Executor:
        return LocalExecutor("here", {"root": "/dev/null/root", **self.options})

    @contextmanager
    def small_disk(self) -> Iterator[Executor]:
        with tmpfs(self.folder) as root, LocalExecutor("here", {"root": str(root), **self.options}) as executor:
            yield executor

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def test_a_local_path_is_given_unless_nothing_is_shared(self, executor: Executor) -> None:
        shared = self.options.get("share") != "no"
        assert (executor.local_path("jobs") is not None) is shared


class TestLocalSharingNothing(TestLocal):
    """As if it were another machine."""

    options: ClassVar[dict[str, str]] = {"share": "no"}


@contextmanager
def tmpfs(folder: Path) -> Iterator[Path]:
    """Mount 4 MB; skips where that is not allowed."""
    root = folder / "small"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(root)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
