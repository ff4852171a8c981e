"""What the runner's tests share: a root, a job in it, and signal handlers put back."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from _runner import jobs, supervisor

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
