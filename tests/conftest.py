"""What all tests share: folders of their own for the program's files, and a broker on them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from broker import settings
from broker.broker import Broker

# A test run in the background of a shell inherits signals that are ignored, and hands that down to all it types.
for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, action)

# Before anything imports torch: with several tests at once its threads are in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine draws slowly: that is no finding.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


LONGEST = ("ssh", "colab", "remote_scripts", "sweep", "kill")
"""The folders whose files take minutes: they come first, or one process would be at work alone in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; pytest-xdist would put those with the most tests there, unless told not to."""
    tests = Path(__file__).parent
    order = {tests / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: next((order[path] for path in item.path.parents if path in order), len(order)))


@pytest.fixture(autouse=True)
def offload_dirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's configuration, jobs or cache. Returns the folder that holds this test's own."""
    for name in [name for name in os.environ if name.startswith("OFFLOAD_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "offload"
    for name in ("config", "state", "cache"):
        (home / name).mkdir(parents=True)
        monkeypatch.setenv(f"OFFLOAD_{name.upper()}_DIR", str(home / name))
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", "0")  # a test that asks for the same twice means it, unless it says so
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "100")  # tests of the queue say less
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "0.3")  # what is gone in a test does not come back
    monkeypatch.setenv("OFFLOAD_WORTH", "0")  # what comes first is the file's order, however fast this machine is
    return home


@pytest.fixture
def broker() -> Iterator[Broker]:
    """An open broker on this test's folders."""
    with Broker(settings.load()) as opened:
        yield opened
