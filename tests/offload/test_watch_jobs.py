"""`offload jobs watch`: what runs and what waits, live, until Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.job import State
from offload import watching
from tests.broker.jobs import ledger, request
from tests.offload.background import Stage, interrupt, said_so, stage, tries, until
from tests.services.typed import OFFLOAD, environment

__all__ = ["stage"]

WATCH = (*OFFLOAD, "jobs")


@pytest.fixture(autouse=True)
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "1")


@pytest.fixture
def busy(stage: Stage) -> Iterator[str]:
    """A job that holds the slot, and another command behind it."""
    hold = stage.here / "hold"
    hold.mkdir()
    stage.start("--hold", str(hold), "--seconds", "0", "a.dat")
    job = stage.latest()
    until(lambda: tries(job), "an attempt")
    (stage.here / "b.dat").write_bytes(b"b")
    said_so(stage.start("--seconds", "0", "b.dat"), b"waiting for local")
    yield job
    (hold / "0").touch()


def test_lines_where_there_is_no_terminal_and_ctrl_c_leaves(stage: Stage, busy: str) -> None:
    watch = stage.start("watch", command=WATCH)
    assert watch.stdout is not None
    lines = [watch.stdout.readline().decode() for _ in range(3)]
    assert lines[0].endswith(" 1 running, 1 waiting\n")
    assert lines[1].startswith(f"  {busy} fake a.dat on local: ")
    assert f"fake b.dat: waiting for local: job {busy} (fake a.dat) is running there" in lines[2]
    said = interrupt(watch)
    assert (said.code, said.err) == (0, "")
    assert tries(busy) == [("local", "running")]


def test_a_table_on_a_terminal_that_goes_with_ctrl_c(stage: Stage, busy: str) -> None:
    ours, theirs = pty.openpty()
    env = environment({"TERM": "xterm", "COLUMNS": "160", "LINES": "40"})
    with subprocess.Popen([*WATCH, "watch"], cwd=stage.here, env=env, stdout=theirs, stdin=theirs) as watch:
        os.close(theirs)
        seen = bytearray()
        until(lambda: (_read(ours, seen), b"waiting for local" in seen)[1], "the table")
        assert busy.encode() in seen
        assert b"1 running, 1 waiting" in seen
        watch.send_signal(2)
        until(lambda: (_read(ours, seen), watch.poll() is not None)[1], "its end")
    assert watch.returncode == 0
    os.close(ours)


def _read(terminal: int, seen: bytearray) -> None:
    while select.select([terminal], [], [], 0)[0]:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            return


def test_progress_speed_and_time_left_are_of_the_item_at_work(broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(request(tmp_path / "media", b"one", b"two", b"three"))
    lock = broker.take_lease(job)
    own = ledger(broker.journal, job.id)
    own.advance(State.RUNNING)
    own.begin_attempt("box", "it was free")
    own.note_progress(1, 0.25, 2.5, 75.0)
    [row] = watching.look(broker)
    assert (row.target, row.state, row.waits) == ("box", "[2/3] 25%, 2.5x, 1:15 left", False)
    assert row.input == "0.dat and 2 more"
    os.close(lock)


def test_however_many_wait_few_rows_are_made_of_them(offload_dirs: Path, tmp_path: Path) -> None:
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://127.0.0.1:1"\n')
    with Broker(settings.load()) as broker:
        broker.journal.health.failed(broker.targets["box"], "box: no route")
        asked = request(tmp_path / "media", b"x", on="box")
        [entry] = asked.inputs
        for number in range(200):
            to = {name: dest.with_name(f"{number}.bin") for name, dest in entry.outputs.items()}
            own = replace(asked, inputs=(replace(entry, outputs=to),), detached=True, session=str(number % 2))
            broker.submit(own)
        rows = list(watching.look(broker))
    assert [(row.count, row.state) for row in rows] == [(100, "waiting for box (no route)")] * 2


def test_hostile_names_are_shown_plainly(broker: Broker, tmp_path: Path) -> None:
    row = watching.Row("0123", "fake", "[red]\x1b[2J\nmade up", "", "wait[bold]ing", waits=True, count=5)
    [_, line] = watching._lines([row])
    assert "\x1b" not in line
    assert "\n" not in line
    assert line.endswith("wait[bold]ing (4 more after it)")


def test_nothing_is_a_line_too(stage: Stage) -> None:
    watch = stage.start("watch", command=WATCH)
    assert watch.stdout is not None
    assert watch.stdout.readline().endswith(b" 0 running, 0 waiting\n")
    assert interrupt(watch).code == 0
    assert settings.load().journal.exists()
