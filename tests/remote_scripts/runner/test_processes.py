"""Every process of a job is found, whatever it did to hide, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _runner import processes

from tests.remote_scripts.runner.job import JOB

SLEEP = "import sys, time; print('here', flush=True); time.sleep(600)"
HIDE = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        told = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
        os.execv(sys.executable, [sys.executable, "-c", told])
    os._exit(0)
os.wait()
"""


@pytest.fixture
def sleeper() -> Iterator[Any]:
    """Starts processes marked as a job's, and ends what a failed test has left of them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(job: str, code: str = SLEEP, program: str = sys.executable) -> subprocess.Popen[bytes]:
        environment = {**os.environ, processes.COOKIE: job}
        process = subprocess.Popen([program, "-c", code], env=environment, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
    processes.end(JOB, grace=0)


class TestProcesses:
    def test_one_that_hides_is_found_and_ended(self, sleeper: Any) -> None:
        parent = sleeper(JOB, HIDE)
        hidden = int(parent.stdout.readline())
        parent.wait()
        assert processes.find(JOB) == {hidden}
        processes.end(JOB, grace=0)
        assert processes.find(JOB) == set()

    def test_another_job_s_processes_are_left_alone(self, sleeper: Any) -> None:
        other = sleeper(JOB + "5")
        other.stdout.readline()
        assert processes.find(JOB) == set()
        processes.end(JOB, grace=0)
        assert other.poll() is None

    @pytest.mark.parametrize("name", [processes.COOKIE, processes.SUPERVISOR])
    def test_a_zombie_is_no_living_process(self, name: str) -> None:
        code = (
            "import os, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', ''], env={})\n"
            "os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not buried\n"
            "print(os.getpid(), flush=True); sys.stdin.read()"
        )
        command, environment = [sys.executable, "-c", code], {**os.environ, name: JOB}
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
            assert parent.stdout
            parent.stdout.readline()
            assert processes.find(JOB) - {parent.pid} == set()

    def test_one_that_escaped_a_look_is_caught_by_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looks, signalled = [set[int](), {7}, set[int](), set[int]()], list[set[int]]()
        monkeypatch.setattr(processes, "find", lambda job: looks.pop(0))
        monkeypatch.setattr(processes, "_signal", lambda pids, number: signalled.append(pids))
        processes.end(JOB, grace=0)
        assert (looks, signalled) == ([], [{7}])

    def test_one_that_cannot_be_killed_is_not_waited_for_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "PATIENCE", 0.1)
        monkeypatch.setattr(processes, "find", lambda job: {7})
        monkeypatch.setattr(processes, "_signal", lambda pids, number: None)
        processes.end(JOB, grace=0)

    def test_a_child_that_cleared_its_environment_is_found_by_its_parent(self, sleeper: Any) -> None:
        code = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r], env={})"
        parent = sleeper(JOB, code % "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
        child = int(parent.stdout.readline())
        assert processes.find(JOB) == {parent.pid, child}
        processes.end(JOB, grace=0)

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="names are parsed from /proc alone")
    def test_a_name_made_to_confuse_does_not(self, sleeper: Any, tmp_path: Path) -> None:
        program = tmp_path / "x) Z 1 (y"
        program.write_text(f"#!{sys.executable}\n{SLEEP}\n")
        program.chmod(0o700)
        process = sleeper(JOB, program=str(program))
        process.stdout.readline()
        assert processes.find(JOB) == {process.pid}

    def test_politeness_comes_first(self, sleeper: Any) -> None:
        code = "import signal, time; signal.signal(15, lambda *_: exit(5)); print(1, flush=True); time.sleep(600)"
        process = sleeper(JOB, code)
        process.stdout.readline()
        processes.end(JOB, grace=30)
        assert process.wait() == 5

    def test_a_supervisor_is_not_one_of_its_job_s_processes_and_its_children_are(self) -> None:
        code = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r], env={})"
        inner = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
        keeper = subprocess.Popen(
            [sys.executable, "-c", code % inner],
            env={**os.environ, processes.SUPERVISOR: JOB},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert keeper.stdout
        with keeper:
            child = int(keeper.stdout.readline())
            assert processes.find(JOB) == {child}
            processes.end(JOB, grace=0)

    def test_where_there_is_no_proc_ps_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ps = tmp_path / "ps"
        lines = [
            f"   10     1 Ss   python fake.py {processes.COOKIE}={JOB} HOME=/root",
            "   11    10 S    sh -c something with its environment hidden",
            f"   12     1 Z    (python) {processes.COOKIE}={JOB}",
            f"   13     1 S    python {processes.COOKIE}={JOB}9",
            f"   14     1 S    python runner.py {processes.SUPERVISOR}={JOB}",
            "   15    14 R    child of the supervisor",
        ]
        ps.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        ps.chmod(0o700)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setattr(processes, "_from_proc", processes._from_ps)
        assert processes.find(JOB) == {10, 11, 15}
