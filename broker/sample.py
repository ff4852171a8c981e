"""A quick look at a link of which nothing is known: one small file there and back. It says nothing of a job."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from pathlib import Path

from broker.forecast import SAMPLED
from broker.history import Observation
from executors.base import Executor, Span

FIRST_BYTES, MOST_BYTES = 64 * 1024, 4 * 1024 * 1024
SECONDS = 1.0
"""How long the file that counts is to take, as far as the first one tells."""


def sample(executor: Executor) -> list[Observation]:
    """Enter a target, and measure its link, up and down. Raises ExecutorError."""
    with executor:
        up, down = _there_and_back(executor, FIRST_BYTES)  # the first pays for what a connection sets up, too
        size = min(max(int(FIRST_BYTES * SECONDS / max(up, 1e-4)), FIRST_BYTES), MOST_BYTES)
        up, down = _there_and_back(executor, size)
    return [Observation(way, size, max(took, 1e-6), SAMPLED) for way, took in (("up", up), ("down", down))]


def _there_and_back(executor: Executor, size: int) -> tuple[float, float]:
    """Seconds each way. The data is new each time, and cannot be compressed."""
    data = secrets.token_bytes(size)
    place = f"parts/{hashlib.sha256(data).hexdigest()}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "sample"
        source.write_bytes(data)
        began = time.monotonic()
        executor.put(source, Span(0, size), f"{place}/0")
    sent = time.monotonic()
    executor.get(f"{place}/0", Span(0, size))
    back = time.monotonic()
    executor.run(["rm", "-r", place])
    return sent - began, back - sent
