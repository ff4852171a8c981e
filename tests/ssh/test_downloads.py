"""Outputs come over several streams at once, and a stream that fails stops the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Barrier, Event

import pytest

from broker import staging
from executors.base import Lost, Span, TransferFailed
from executors.local import LocalExecutor

STREAMS = LocalExecutor.streams
PART = 1000
CONTENT = os.urandom(4 * STREAMS * PART + 17)
PATIENCE = 60.0


class Far(LocalExecutor):
    """A machine that shares no files with us. `meet` is called before each part is read."""

    def __init__(self, root: Path, meet: Callable[[], object]) -> None:
        super().__init__("far", {"root": str(root), "share": "no"})
        self.meet = meet

    def get(self, path: str, span: Span) -> bytes:
        self.meet()
        return super().get(path, span)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PART_BYTES", "FETCH_BYTES"):
        monkeypatch.setattr(staging, name, PART)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


def bring(folder: Path, meet: Callable[[], object]) -> bytes:
    """Fetch an output; returns what arrived."""
    (folder / "root").mkdir()
    (folder / "root/output").write_bytes(CONTENT)
    part = folder / "part"
    with Far(folder / "root", meet) as far:
        staging.fetch(far, "output", len(CONTENT), sha256(CONTENT).hexdigest(), part)
    return part.read_bytes()


def test_as_many_parts_come_at_once_as_there_are_streams(tmp_path: Path) -> None:
    together, first = Barrier(STREAMS), iter(range(STREAMS))

    def wait_for_company() -> None:
        if next(first, None) is not None:
            together.wait(PATIENCE)

    assert bring(tmp_path, wait_for_company) == CONTENT


def test_a_stream_that_fails_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those at work end their part; nobody begins another."""
    asked, enough = count(), Event()
    monkeypatch.setattr(staging, "Event", lambda: enough)

    def fail_first() -> None:
        if next(asked) == 0:
            raise Lost("gone")
        enough.wait(PATIENCE)

    with pytest.raises(Lost):
        bring(tmp_path, fail_first)
    assert next(asked) <= STREAMS


def test_a_part_that_breaks_is_asked_for_again(tmp_path: Path) -> None:
    troubles = [TransferFailed("cut")] * 2

    def cut() -> None:
        if troubles:
            raise troubles.pop()

    assert bring(tmp_path, cut) == CONTENT
