"""What the runner's tests share: a root, a job in it, and signal handlers put back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _runner import jobs, supervisor

from tests.once import once
from tests.remote_scripts.runner import environments
from tests.remote_scripts.runner.job import FOLDER, JOB, request


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    shutil.copytree(FOLDER, root / "scripts" / "v1")
    (root / "scripts" / "v1" / "quick.py").write_text("")
    return root


@pytest.fixture
def created(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose supervisor died before it could say a word."""
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_spawn", lambda *_: None)
        assert jobs.start(root, request()) == {"state": "created"}
    return root / "jobs" / JOB


@pytest.fixture
def signals() -> Iterator[None]:
    """Whatever a test does to signal handlers is undone."""
    numbers = (*supervisor.SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel of the tiny package, the only one that pip and uv find. No other Python is on the path, nor uv."""
    (tmp_path / "home").mkdir()
    found = environments.wheel(tmp_path / "wheels")
    for name, value in {"PATH": "", "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(found.parent))
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
    return found


@pytest.fixture
def uv(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> environments.PacedUv:
    """A uv whose pace the test sets."""
    paced = environments.PacedUv(tmp_path / "paced", tiny)
    monkeypatch.setenv("PATH", str(tmp_path / "paced" / "bin"))
    return paced


@pytest.fixture(scope="session")
def real_uv() -> Path:
    """A real uv; skips where it cannot be had."""
    if found := shutil.which("uv"):
        return Path(found)
    program = once("uv", _install_uv) / "bin/uv"
    if not program.exists():
        pytest.skip("uv cannot be installed here")
    return program


def _install_uv(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), "uv"]
    subprocess.run(command, capture_output=True, check=False)
