"""Offline: no target but this machine is asked, by anybody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import NoTarget
from executors.base import Unreachable
from tests.broker.jobs import drive, ledger, only_job, request, right


@pytest.fixture
def lab(offload_dirs: Path) -> Iterator[None]:
    """A target `lab`, at a port where it is noticed afterwards whether anybody asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port, token = server.getsockname()[1], offload_dirs / "token"
        token.write_text("secret")
        token.chmod(0o600)
        lines = ["[lab]", f'url = "jupyter+http://127.0.0.1:{port}/"', f'token_file = "{token}"']
        (offload_dirs / "config/targets.toml").write_text("\n".join(lines))
        yield
        with pytest.raises(BlockingIOError):  # nobody has connected
            server.accept()


@pytest.fixture
def offline(lab: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    monkeypatch.setenv("OFFLOAD_OFFLINE", "1")
    with Broker(settings.load()) as broker:
        yield broker


def test_a_job_runs_here_and_says_why(offline: Broker, tmp_path: Path) -> None:
    wanted = request(tmp_path / "media", b"one")
    drive(offline, wanted)
    assert right(wanted)
    assert [one["target"] for one in offline.receipt(only_job(offline).id)["attempts"]] == ["local"]
    (there, _) = offline.plan("auto", 1)
    assert "OFFLOAD_OFFLINE" in there.reason


def test_where_it_may_run_only_there_it_does_not(offline: Broker, tmp_path: Path) -> None:
    with pytest.raises((NoTarget, Unreachable), match="not asked"):
        drive(offline, request(tmp_path / "media", b"one", on="lab"))


def test_a_job_that_runs_there_is_left_alone(offline: Broker, tmp_path: Path) -> None:
    job = offline.submit(request(tmp_path / "media", b"one", on="lab"))
    page = ledger(offline.journal, job.id)
    page.may_remain(page.begin_attempt("lab", "for a test"))
    assert offline.cancel(job) == ["lab"]


def test_a_job_that_was_made_offline_asks_nobody_whoever_drives_it(lab: None, tmp_path: Path) -> None:
    with Broker(settings.load().model_copy(update={"offline": True})) as broker:
        job = broker.submit(request(tmp_path / "media", b"one"))
    with Broker(settings.load()) as broker:
        drive(broker, broker.journal.job(job.id))
        assert [one["target"] for one in broker.receipt(job.id)["attempts"]] == ["local"]


def test_what_is_known_of_a_target_is_not_forgotten(lab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker(settings.load()) as broker:
        broker.journal.health.learned(broker.targets["lab"], gpu="T4")
    monkeypatch.setenv("OFFLOAD_OFFLINE", "1")
    with Broker(settings.load()) as broker:
        assert not broker.journal.health.probe(broker.targets["lab"]).reachable
        assert not broker.journal.health.ask(broker.targets["lab"]).reachable
    monkeypatch.delenv("OFFLOAD_OFFLINE")
    with Broker(settings.load()) as broker:
        known = broker.journal.health.probe(broker.targets["lab"])
        assert (known.reachable, known.gpu) == (True, "T4")
