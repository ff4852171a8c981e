"""Asking a server for jobs, as its tests do, and leaving nothing of them behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import OffloadError
from broker.journal import Journal
from broker.settings import Settings
from broker.slots import Slots
from broker.targets import LOCAL
from tests.offload.background import followers, until
from tests.server.serving import Serving

NOISE = b"this is no clip"

WAITING = {"when": "remote"}
"""What makes a job wait for the target that `away` names: nothing ever runs."""


def away(home: Path) -> None:
    """Have one target beside this machine, which cannot be reached."""
    (home / "file").touch()
    (home / "config" / "targets.toml").write_text(f'[away]\nurl = "local://{home}/file/x"\n')


def upload(http: httpx.Client, data: bytes = NOISE) -> str:
    """Have a blob on the server; returns its sha256."""
    sha256 = hashlib.sha256(data).hexdigest()
    begun = http.post("/v1/blobs", json={"size": len(data), "sha256": sha256}).json()
    if not begun["known"]:
        how = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        assert http.patch(f"/v1/blobs/{begun['upload']}", content=data, headers=how).is_success
    return sha256


def wish(sha256: str, *names: str, **more: Any) -> dict[str, Any]:
    """A wish to stabilise one blob, under each of the names."""
    return {
        "service": "stabilize",
        "inputs": [{"blob": sha256, "name": name} for name in names or ("clip.mp4",)],
        **more,
    }


def ask(http: httpx.Client, sent: dict[str, Any], key: str | None = None) -> httpx.Response:
    """Ask for a job."""
    return http.post("/v1/jobs", json=sent, headers={} if key is None else {"Idempotency-Key": key})


def over(http: httpx.Client, job: str) -> dict[str, Any]:
    """The job, once it is over."""
    until(lambda: http.get(f"/v1/jobs/{job}").json()["over"], f"the end of {job}")
    told: dict[str, Any] = http.get(f"/v1/jobs/{job}").json()
    return told


def folders(home: Path) -> list[Path]:
    """The folders of the server's jobs."""
    return [path for path in (home / "state" / "server" / "jobs").glob("*") if path.name != ".locks"]


@contextmanager
def no_place(config: Settings) -> Iterator[None]:
    """While all places of this machine are taken, so that no job gets to its end."""
    slots = Slots(config.state_dir / "slots", config.lease_seconds)
    with Journal(config.journal) as journal, ExitStack() as taken:

        def take() -> bool:
            with journal.turn():
                slot = slots.take(LOCAL, config.local_jobs, "another")
            return slot is not None and bool(taken.enter_context(slot))

        for _ in range(config.local_jobs):
            until(take, "a place that is free")
        yield


def end_all() -> None:
    """End all jobs of this test, and wait until nobody sees to them."""
    with Broker(settings.load()) as broker:
        for job in broker.journal.open_jobs():
            with suppress(OffloadError):  # it has ended meanwhile
                broker.cancel(job)
    until(lambda: not followers(), "the followers' end")


@pytest.fixture
def http(serving: Serving) -> Iterator[httpx.Client]:
    """A client that is let in; afterwards no job is left."""
    with serving.http() as client:
        yield client
    end_all()
