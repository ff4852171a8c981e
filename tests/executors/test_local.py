"""The local executor, sharing files and not: it passes what every executor must."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from executors import KINDS, executor_class
from executors.base import Executor, Lost
from executors.local import LocalExecutor
from tests.executors.conformance import ExecutorConformance
from tests.executors.conformance.endings import Endings
from tests.executors.conformance.follow import Following


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


class OldestPython(LocalExecutor):
    """A machine that has no newer Python than the runner asks for."""

    @property
    def python(self) -> str:
        return str(oldest_python())


def oldest_python() -> Path | None:
    """Find a Python 3.8 that starts, on the path or among pyenv's."""
    found = [shutil.which("python3.8"), *sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python3.8"))]
    works = (path for path in found if path and not subprocess.run([path, "-V"], capture_output=True).returncode)
    return next(map(Path, works), None)


@pytest.mark.skipif(oldest_python() is None, reason="there is no Python 3.8 here")
class TestOnOldestPython(Following, Endings):
    """The suite's most demanding half, with the runner on the oldest Python it promises to run on."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
        root = tmp_path_factory.mktemp("target") / "root"
        with OldestPython("here", {"root": str(root)}) as executor:
            yield executor


@contextmanager
def tmpfs(folder: Path) -> Iterator[Path]:
    """Mount 4 MB; skips where that is not allowed."""
    root = folder / "small"
    root.mkdir()
    if not mount(root):
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


def mount(root: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(root)]
    return subprocess.run(command, capture_output=True).returncode == 0


def may_mount(folder: Path) -> bool:
    try:
        with tmpfs(folder):
            return True
    except pytest.skip.Exception:
        return False


def test_full_disks_in_a_namespace_where_we_are_root(tmp_path: Path) -> None:
    if may_mount(tmp_path):
        pytest.skip("the small disks above were real ones")
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("neither mounting nor a namespace of our own is allowed here")
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "TestLocal and full_disk", __file__]
    done = subprocess.run([*unshare, *tests], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_a_probe_creates_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    probe = LocalExecutor("here", {"root": str(folder / "a" / "b")}).probe(1.0)
    assert (probe.reachable, list(folder.iterdir())) == (True, [])
    assert probe.cpus == os.cpu_count()
    assert probe.disk_free_bytes


@pytest.mark.parametrize("root", ["/dev/null", "/dev/null/x", "x" * 5000])
def test_a_probe_of_an_impossible_root_says_why(root: str) -> None:
    probe = LocalExecutor("here", {"root": root}).probe(1.0)
    assert not probe.reachable
    assert probe.reason


def test_a_root_that_is_deleted_under_us_is_a_lost_target(tmp_path: Path) -> None:
    with LocalExecutor("here", {"root": str(tmp_path / "root")}) as executor:
        (tmp_path / "root").rmdir()
        with pytest.raises(Lost):
            executor.run(["true"])


def test_the_root_is_private(tmp_path: Path) -> None:
    with LocalExecutor("here", {"root": str(tmp_path / "root")}):
        assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700


def test_every_kind_in_the_registry_can_be_imported() -> None:
    for kind in KINDS:
        assert issubclass(executor_class(kind), Executor)


def test_an_unknown_kind_is_told_with_those_that_are_known() -> None:
    with pytest.raises(LookupError, match=r"no executor of kind 'nosuch'; known kinds: .*local"):
        executor_class("nosuch")
