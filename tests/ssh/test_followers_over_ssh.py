"""Detached jobs on a real sshd: waited for while the machine is away, and ended with all their processes."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.jobs import let_go
from tests.executors.sshd import Server, needs_sshd, sshd
from tests.offload.background import LONG, Stage, at_work, finish, follower, kill, stage, state, tries, until
from tests.services.conftest import data, here
from tests.services.typed import OFFLOAD, offload
from tests.ssh.jobs import configure, through
from tests.ssh.wire import Wire, wire

__all__ = ["data", "here", "stage"]

pytestmark = needs_sshd

THERE = ("--on", "box")


@pytest.fixture(autouse=True)
def box(tmp_path: Path, offload_dirs: Path) -> Iterator[Server]:
    """A machine of its own with the Python of the tests, configured as the target `box`."""
    with sshd(tmp_path, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}") as server:
        lines = [f"{key} = {json.dumps(value)}" for key, value in server.options().items()]
        (offload_dirs / "config/targets.toml").write_text("\n".join(["[box]", *lines]))
        yield server


@pytest.fixture
def cable(box: Server, offload_dirs: Path) -> Iterator[Wire]:
    """A wire to the machine, which is the target `box` at its near end."""
    with wire(box.port) as laid:
        configure(offload_dirs, box, url=through(box, laid.port))
        yield laid


def test_a_machine_that_is_away_is_waited_for(stage: Stage, box: Server) -> None:
    hold = let_go(stage.here / "hold")
    job = stage.detach("--seconds", "0", "--hold", str(hold), *THERE, "a.dat")
    until(lambda: at_work(job), "the script")
    process = follower(job)
    box.kill()
    until(lambda: state(job) == "waiting", "that it waits")
    assert "box" in offload(stage.here, "jobs", "show", job).out.decode()
    assert follower(job) == process
    box.start()
    let_go(hold, 0)
    until(lambda: state(job) == "done", "the job's end")
    assert tries(job) == [("box", "done")]
    assert (stage.here / "a.worked.bin").exists()


def test_a_job_that_waits_can_be_cancelled(stage: Stage, box: Server) -> None:
    job = stage.detach(*LONG, *THERE, "a.dat")
    until(lambda: at_work(job), "the script")
    box.kill()
    until(lambda: state(job) == "waiting", "that it waits")
    said = offload(stage.here, "jobs", "cancel", job)
    assert said.code == 0
    assert "box cannot be reached" in said.err
    until(lambda: state(job) == "cancelled", "the job's end")
    for process in at_work(job):  # nobody can end it there any more
        process.kill()


def test_cancelled_it_is_gone_with_all_its_processes(stage: Stage, box: Server) -> None:
    job = stage.detach("--family", *LONG, *THERE, "a.dat")
    until(lambda: len(at_work(job)) == 3, "a script with a child and a grandchild")
    assert offload(stage.here, "jobs", "cancel", job).err == f"job {job} cancelled\n"
    assert (at_work(job), state(job), tries(job)) == ([], "cancelled", [("box", "cancelled")])
    assert not list((box.folder / "root/jobs").iterdir())


def test_cancelled_in_upload_it_never_runs(stage: Stage, box: Server, cable: Wire) -> None:
    (stage.here / "a.dat").write_bytes(os.urandom(40_000_000))
    cable.jam(after=20_000_000)
    command = stage.start(*LONG, *THERE, "a.dat")
    until(cable.jammed.is_set, "an upload")
    held = box.sessions()
    for session in held:
        session.send_signal(signal.SIGSTOP)
    cable.go_on()  # who cancels is let through
    job = offload(stage.here, "jobs", "ls", "--json").document[0]["job"]
    said = offload(stage.here, "jobs", "cancel", job)
    for session in held:
        session.send_signal(signal.SIGCONT)
    assert said.code == 0, said.err
    assert finish(command).code == 130
    assert (state(job), at_work(job)) == ("cancelled", [])
    assert not list((box.folder / "root").glob("jobs/*/out"))


def test_a_replaced_follower_takes_the_job_up_where_it_is(stage: Stage) -> None:
    hold = let_go(stage.here / "hold")
    job = stage.detach("--seconds", "0", "--hold", str(hold), *THERE, "a.dat")
    until(lambda: at_work(job), "the script")
    kill(follower(job))
    until(lambda: state(job) == "interrupted", "that nobody drives it")
    let_go(hold, 0)
    assert offload(stage.here, "jobs", "attach", job, "-q").lines == [str(stage.here / "a.worked.bin")]
    assert tries(job) == [("box", "done")]


def test_its_log_is_told_as_it_grows(stage: Stage) -> None:
    hold = let_go(stage.here / "hold")
    job = stage.detach("--steps", "10", "--seconds", "0", "--hold", str(hold), *THERE, "a.dat")
    logs = stage.start("jobs", "logs", "-f", job, command=OFFLOAD)
    assert logs.stdout
    assert next(logs.stdout) == b"--- attempt 1 on box: running\n"
    assert [next(logs.stdout) for _ in range(7)][-1] == b"made step-6 of item 0\n"
    let_go(hold, 0)
    said = finish(logs)
    assert (said.code, said.lines) == (0, [f"made step-{step} of item 0" for step in (7, 8, 9)])
