"""The well-known failures of systems that fall back, each as a test named after its case.

Those that are shown elsewhere, on real machines, are named by `ELSEWHERE`, which is checked, too.
"""

from __future__ import annotations

import ast
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker import scheduler, settings
from broker.agent import Agent
from broker.broker import Broker
from broker.events import Published
from broker.job import Request
from broker.stop import Stop
from executors.base import Lost, Unreachable
from tests import fakework
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, let_go, only_job, request, right
from tests.broker.test_attempt import drive_and
from tests.broker.test_dispatch import is_started_here
from tests.broker.test_queue import found_away, schedulers
from tests.executors.test_ssh_breaks import dead_port
from tests.offload.background import Stage, at_work, finish, followers, said_so, stage, state, tries, until
from tests.services.conftest import data, here
from tests.services.typed import offload
from tests.stopping import stop

__all__ = ["data", "here", "stage"]

ROOT = Path(__file__).parents[1]
Box = type[FaultyExecutor]

ELSEWHERE = {
    "the endpoint is dead before the start": "ssh/test_dead.py::test_dead_before_the_start",
    "the endpoint dies in the upload, in the run, in the download": "ssh/test_vanishing_machine.py::test_killed_in",
    "the endpoint goes silent in the upload, the run, the download": "ssh/test_black_holes.py::test_black_hole_in",
    "a dead server costs every job its time-out": "ssh/test_dead.py::test_a_dead_target_is_asked_once_for_many_jobs",
    "a worker paused past its lease, as a process": "kill/test_pause.py::test_ten_pauses",
    "a worker paused anywhere, in any order of events": (
        "broker/test_machine.py::test_no_order_of_events_loses_doubles_or_half_publishes_an_item"
    ),
    "a transient network loss, on a real network": "ssh/test_dead.py::test_connection_comes_back_in_the_run",
    "kill -9 of the client leaks a running remote machine": (
        "colab/test_orphans.py::test_what_a_killed_command_left_can_be_given_back"
    ),
    "a page is taken for a clip": ("remote_scripts/test_stabilize_refuses.py::test_a_bad_input_gets_one_sentence"),
    "a page instead of a result, from a Jupyter server": (
        "executors/test_jupyter_trust.py::test_a_page_in_the_place_of_a_file_is_no_file"
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_case_that_is_shown_elsewhere_is(case: str) -> None:
    file, _, name = ELSEWHERE[case].partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


# The endpoint dies


@pytest.mark.parametrize(
    "fault",
    [
        Fault("probe", error=Unreachable("box: no route")),
        Fault("put", "parts/", Lost("box: gone"), skip=1),
        Fault("run", "events", Lost("box: gone"), skip=1),
        Fault("get", "out/", Lost("box: gone")),
    ],
    ids=["before the start", "in the upload", "in the run", "in the download"],
)
def test_an_endpoint_that_dies_ends_with_one_good_output_and_a_receipt(
    fault: Fault, box: Box, broker: Broker, tmp_path: Path
) -> None:
    box.faults.append(fault)
    hold = let_go(tmp_path / "hold", *() if fault.word == "events" else (0, 1))
    asked = request(tmp_path / "media", b"one", b"two", hold=str(hold))
    told = drive_and(broker, broker.submit(asked), Stop(), is_started_here, lambda: let_go(hold, 0, 1))
    assert right(asked)
    assert [event.index for event in told if isinstance(event, Published)] == [0, 1]
    receipt = broker.receipt(only_job(broker).id)
    assert receipt["state"] == "done"
    assert receipt["attempts"][-1]["target"] == "local"
    assert all(output["sha256"] for item in receipt["items"] for output in item["outputs"])


# A dead target, and the queue


def dead(dirs: Path) -> None:
    with dead_port() as port:
        (dirs / "config/targets.toml").write_text(f'[box]\nurl = "ssh://127.0.0.1:{port}"\n')


def queued(asked: Request, count: int) -> str:
    """So many detached jobs for `box` in the journal; returns the first."""
    with Broker(settings.load()) as broker:
        job = broker.submit(replace(asked, on="box", detached=True))
        names = ", ".join(
            row["name"] for row in broker.journal._db.rows("PRAGMA table_info(jobs)") if row["name"] != "id"
        )
        numbers = "WITH RECURSIVE many(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM many WHERE n < ?)"
        items = "idx, source, size, mtime_ns, inode, sha256, options"
        with broker.journal._db.write():
            for copy in (
                f"{numbers} INSERT INTO jobs (id, {names}) SELECT printf('%012x', n), {names} FROM jobs, many",
                f"INSERT INTO items (job, {items}) SELECT jobs.id, {items} FROM jobs, items WHERE jobs.id != items.job",
                "INSERT INTO outputs (job, idx, number, name, dest) SELECT jobs.id, idx, number, name, dest"
                " FROM jobs, outputs WHERE jobs.id != outputs.job",
            ):
                broker.journal._db.execute(copy, (count,) if "many" in copy else ())
    return job.id


def log_lines() -> int:
    """What everything in the background has written."""
    folder = settings.load().state_dir
    logs = [*folder.glob("followers/*.log"), *folder.glob("keepers/*.log"), scheduler.log_path(settings.load())]
    return sum(len(log.read_text().splitlines()) for log in logs if log.exists())


def test_five_thousand_jobs_against_a_dead_target_write_at_most_fifty_log_lines(
    stage: Stage, offload_dirs: Path
) -> None:
    dead(offload_dirs)
    queued(request(stage.here / "media", b"x"), 5000)
    for _ in range(5):
        assert offload(stage.here, "jobs", "ls").code == 0
    until(lambda: len(schedulers()) == 1, "one process that asks")
    until(lambda: not followers(), "that nobody else is left")
    time.sleep(3)
    assert 0 < log_lines() <= 50
    with Broker(settings.load()) as broker:
        [head] = broker.journal.queue.heads(broker.drivers())
        assert head.count == 5000
        with broker.journal._db.write():
            broker.journal._db.execute("UPDATE jobs SET state = 'cancelled'")
    until(lambda: not schedulers(), "that it goes")


def test_no_job_vanishes_from_the_queue_while_the_remote_is_off(stage: Stage, offload_dirs: Path) -> None:
    dead(offload_dirs)
    jobs = []
    for number in range(4):
        (stage.here / f"{number}.dat").write_bytes(b"%d" % number)
        jobs.append(stage.detach("--seconds", "0", "--on", "box", f"{number}.dat"))
    until(lambda: not followers(), "that all have found it dead")
    for process in schedulers():
        process.kill()
        process.wait()
    with Broker(settings.load()) as broker:
        found_away(broker, "box")
    listed = offload(stage.here, "jobs", "ls", "--json").document
    assert sorted((row["job"], row["state"]) for row in listed) == sorted((job, "waiting") for job in jobs)
    assert all("waiting for box (" in row["why"] for row in listed)
    (offload_dirs / "config/targets.toml").write_text(f'[box]\nurl = "local://{stage.here.parent}/box"\n')
    until(lambda: all(state(job) == "done" for job in jobs), "the end of all")
    assert [tries(job)[-1] for job in jobs] == [("box", "done")] * 4


# A worker that is late


def test_a_worker_paused_past_its_lease_publishes_nothing_late(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_LEASE_SECONDS", "1.5")
    hold = stage.here / "hold"
    hold.mkdir()
    words = ("--hold", str(hold), "--seconds", "0", "a.dat")
    late = stage.start(*words)
    job = stage.latest()
    until(lambda: tries(job), "an attempt")
    stop(late, settings.load().journal)
    until(lambda: state(job) == "interrupted", "that its lease is over")
    (hold / "0").touch()
    assert finish(stage.start(*words)).code == 0
    made = (stage.here / "a.worked.bin").stat()
    late.send_signal(signal.SIGCONT)
    finish(late)
    now = (stage.here / "a.worked.bin").stat()
    assert (now.st_ino, now.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert sorted(path.name for path in stage.here.iterdir()) == ["a.dat", "a.worked.bin", "hold"]
    assert tries(job) == [("local", "done")]


# A result that is none

PAGE = b"<html><title>404 Not Found</title>gone, sorry</html>\n"


def test_a_404_page_is_never_saved_over_a_video(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = FaultyExecutor.get
    monkeypatch.setattr(box, "get", lambda self, path, span: PAGE if "/out/" in path else really(self, path, span))
    asked = request(tmp_path / "media", b"one", overwrite=True)
    [dest] = asked.inputs[0].outputs.values()
    dest.write_bytes(b"what the user had")
    seen: list[bytes] = []
    for _ in broker.drive(broker.submit(asked), Stop()):
        seen.append(dest.read_bytes())
    assert PAGE not in seen
    assert right(asked)
    assert broker.journal.attempts(only_job(broker).id)[0].target == "box"


# The fallback does something else


def test_the_fallback_runs_the_same_script_with_the_same_parameters(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Any]] = []
    begin = Agent.start

    def start(agent: Agent, job: str, script: str, ordered: Any) -> None:
        told.append((script, {name: ordered[name] for name in ordered if name not in ("job", "inputs")}))
        begin(agent, job, script, ordered)

    monkeypatch.setattr(Agent, "start", start)
    box.faults.append(Fault("run", "events", Lost("box: gone"), skip=1))
    hold = let_go(tmp_path / "hold")
    asked = request(tmp_path / "media", b"one", digest=False, steps=4, hold=str(hold))
    drive_and(broker, broker.submit(asked), Stop(), is_started_here, lambda: let_go(hold, 0))
    there, here, job = told[0], told[-1], only_job(broker)
    assert there[0] == here[0] == "work.py"
    assert _decides(there[1]) == _decides(here[1])
    assert [attempt.target for attempt in broker.journal.attempts(job.id)] == ["box", "local"]


def _decides(ordered: dict[str, Any]) -> Any:
    """What decides the outputs, of what a target is told."""
    spec = ordered["spec"]
    items = [(item["index"], item["options"]) for item in spec["items"]]
    return spec["params"], spec["limits"], items, ordered["environment"]["dependencies"]


# A moment's silence


def test_a_transient_loss_within_the_grace_period_moves_no_job(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "90")
    box.faults.append(Fault("run", "events", Lost("box: reset"), skip=1, times=2))
    asked = request(tmp_path / "media", b"one")
    with Broker(settings.load()) as patient:
        drive(patient, asked)
        assert [(a.target, a.state) for a in patient.journal.attempts(only_job(patient).id)] == [("box", "done")]
    assert right(asked)


def test_the_grace_period_is_three_times_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFLOAD_GRACE_SECONDS")
    assert settings.load().grace_seconds == 3 * 30


# Suspended


@pytest.fixture
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "1")


def test_a_follower_that_is_suspended_for_a_while_loses_nothing_and_doubles_nothing(stage: Stage) -> None:
    hold = let_go(stage.here / "hold")
    job = stage.detach("--hold", str(hold), "--seconds", "0", "a.dat")
    until(lambda: at_work(job), "the script")
    [follower] = followers(job)
    stop(follower, settings.load().journal)
    let_go(hold, 0)
    until(lambda: not at_work(job), "the script's end")
    follower.send_signal(signal.SIGCONT)
    until(lambda: state(job) == "done", "the job's end")
    assert tries(job) == [("local", "done")]
    assert (stage.here / "a.worked.bin").read_bytes() == fakework.expected(b"some work")


def test_a_waiter_that_is_suspended_for_a_while_has_its_turn_afterwards(one_slot: None, stage: Stage) -> None:
    hold = let_go(stage.here / "hold")
    stage.start("--hold", str(hold), "--seconds", "0", "a.dat")
    job = stage.latest()
    (stage.here / "b.dat").write_bytes(b"b")
    waiter: subprocess.Popen[bytes] = stage.start("--seconds", "0", "b.dat")
    said_so(waiter, b"waiting for local")
    stop(waiter, settings.load().journal)
    let_go(hold, 0)
    until(lambda: state(job) == "done", "the end of what it waits for")
    waiter.send_signal(signal.SIGCONT)
    assert finish(waiter).code == 0
