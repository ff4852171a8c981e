"""A Colab of our own for whole commands, and no keeper left behind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker import settings
from broker.broker import Broker
from broker.health import FRESH_SECONDS, LONGEST_PAUSE, Health
from tests.colab.double import Double, double
from tests.colab.jobs import furnish
from tests.offload.background import kill as end
from tests.offload.background import until
from tests.processes import carrying, told

SILENCE = 60
"""Seconds that a runtime may be silent: what loads torch, say, may keep a busy machine from answering."""


def configure(dirs: Path, google: Double, **changed: object) -> None:
    """Make the double the one target, `colab`, which has just answered; its user is logged in."""
    options: dict[str, Any] = {**google.options(state=dirs / "state/colab/colab"), "silence": SILENCE, **changed}
    lines = [f"{key} = {json.dumps(str(value))}" for key, value in options.items()]
    (dirs / "config/targets.toml").write_text("\n".join(["[colab]", *lines]))
    answers("colab")


def answers(target: str) -> None:
    """Remember that it did: no command on a busy machine is to pass it over because a look at it took too long."""
    with Broker(settings.load()) as broker:
        later = Health(broker.journal._db, clock=lambda: time.time() + LONGEST_PAUSE - FRESH_SECONDS - 60)
        later.learned(broker.targets[target])


@pytest.fixture
def google(tmp_path: Path, offload_dirs: Path) -> Iterator[Double]:
    """Google, with a user who is logged in, and the target `colab`."""
    with double(tmp_path / "google") as google:
        furnish(google)
        google.log_in(offload_dirs / "state/colab/colab")
        configure(offload_dirs, google)
        yield google


@pytest.fixture(autouse=True)
def no_keeper_is_left(offload_dirs: Path) -> Iterator[None]:
    """Keepers outlive the commands that start them, and would outlive the test."""
    yield
    for keeper in keepers(offload_dirs):
        end(keeper)


@pytest.fixture
def nothing_is_left(tmp_path: Path, offload_dirs: Path) -> Iterator[None]:
    """After the test: no half-written file, and no process of a command but keepers."""
    yield
    assert not list(tmp_path.rglob("*.part"))
    until(lambda: not _others(offload_dirs), lambda: f"that only keepers are left: {told(_others(offload_dirs))}")


def _others(dirs: Path) -> list[psutil.Process]:
    """What else belongs to this test; for a moment also a keeper that is just being started."""
    ours = carrying("OFFLOAD_STATE_DIR", str(dirs / "state"))
    return [process for process in ours if process.pid != os.getpid() and not _is_keeper(process, dirs)]


def keepers(dirs: Path) -> list[psutil.Process]:
    """The keepers of this test's machines."""
    return [process for process in psutil.process_iter() if _is_keeper(process, dirs)]


def _is_keeper(process: psutil.Process, dirs: Path) -> bool:
    try:
        ours = process.environ().get("OFFLOAD_STATE_DIR") == str(dirs / "state")
        return ours and "broker.keeper" in " ".join(process.cmdline()) and process.pid != os.getpid()
    except psutil.Error:  # somebody else's, or gone while we looked
        return False
