"""A target that fails on purpose, ahead of this machine in the user's order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import executors
from tests.broker.faulty import Fault, FaultyExecutor


@pytest.fixture
def box(offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultyExecutor]]:
    """The target `box`, without a fault until one is added to `box.faults`; `box.asked` is what it was asked for."""
    monkeypatch.setitem(executors.KINDS, "faulty", "tests.broker.faulty:FaultyExecutor")
    (offload_dirs / "config" / "targets.toml").write_text(f'[box]\nurl = "faulty://{tmp_path}/box"\n')
    monkeypatch.setattr(FaultyExecutor, "faults", list[Fault]())
    monkeypatch.setattr(FaultyExecutor, "asked", list[tuple[str, str, int]]())
    yield FaultyExecutor
