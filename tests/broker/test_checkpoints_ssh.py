"""Checkpoints over a real sshd: a machine that vanishes has left its pieces here; one that is sent pieces goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import policy, settings
from broker.broker import Broker
from broker.stop import Stop
from tests.broker.jobs import drive, let_go, only_job, right
from tests.broker.test_attempt import drive_and
from tests.broker.test_checkpoints import ALL, FIRST, REST, killed_at_70, made, reached, recorded, stepwise
from tests.executors.sshd import Server, needs_sshd

pytestmark = needs_sshd

NAMESPACE = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")


@pytest.fixture
def machine(tmp_path: Path, offload_dirs: Path) -> Iterator[Server]:
    """A machine that can vanish, configured as the target `box`: its processes live in a pid namespace of their own."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no pid namespace can be made here")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = Server(tmp_path / "machine", {"PATH": path}, NAMESPACE)
    server.start()
    lines = [f"{key} = {json.dumps(value)}" for key, value in server.options().items()]
    (offload_dirs / "config/targets.toml").write_text("\n".join(["[box]", *lines]))
    yield server
    vanish(server)


@pytest.fixture
def broker(machine: Server) -> Iterator[Broker]:
    """An open broker that knows the machine."""
    with Broker(settings.load()) as opened:
        yield opened


def vanish(server: Server) -> None:
    """End all its processes, and delete its disk."""
    server.process.kill()
    server.process.wait()
    shutil.rmtree(server.folder / "root", ignore_errors=True)


def test_a_machine_that_vanishes_has_left_what_it_had_finished(machine: Server, broker: Broker, tmp_path: Path) -> None:
    asked = stepwise(tmp_path / "media", hold=str(let_go(tmp_path / "hold")))
    job = broker.submit(asked)
    drive_and(broker, job, Stop(), reached(0.7), lambda: vanish(machine))
    assert right(asked)
    assert [(one.target, one.state) for one in broker.journal.attempts(job.id)] == [("box", "lost"), ("local", "done")]
    before = {step for step, by in recorded(broker, job.id).items() if by == 1}
    assert before >= FIRST
    assert made(broker, job.id)[1] == ALL - before


def test_a_machine_is_sent_what_was_finished_here(
    machine: Server, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "RUNS_HERE", 1)
    asked = killed_at_70(tmp_path / "media", on="local,box")
    drive(broker, asked)
    assert right(asked)
    job = only_job(broker)
    assert [(one.target, one.state) for one in broker.journal.attempts(job.id)] == [("local", "lost"), ("box", "done")]
    assert made(broker, job.id) == [FIRST, REST]
