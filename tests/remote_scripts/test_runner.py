"""The runner's parts, one by one, where the executors' conformance suite cannot look."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import remote_scripts

FOLDER = Path(remote_scripts.__path__[0])
sys.path.append(str(FOLDER))  # as on a target, where a program's own folder is looked in

from _runner import blobs, jobs, layout, machine, processes, state, supervisor  # noqa: E402

JOB = "abcd1234"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    shutil.copytree(FOLDER, root / "scripts" / "v1")
    (root / "scripts" / "v1" / "quick.py").write_text("")
    return root


def request(job: str = JOB, **fields: Any) -> dict[str, Any]:
    environment = {"requires_python": "", "dependencies": [], "install": ""}
    return {"job": job, "script": "v1/quick.py", "spec": {}, "inputs": [], "environment": environment, **fields}


def started(root: Path) -> str:
    """Start the job as an executor would, by the runner under the root."""
    command = [sys.executable, str(root / "scripts" / "v1" / "runner.py"), "start"]
    done = subprocess.run(command, input=json.dumps(request()).encode(), capture_output=True)
    assert done.returncode == 0, done.stdout
    return str(json.loads(done.stdout)["state"])


@pytest.fixture
def created(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose supervisor died before it could say a word."""
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_spawn", lambda *_: None)
        assert jobs.start(root, request()) == {"state": "created"}
    return root / "jobs" / JOB


class TestFiles:
    @pytest.mark.parametrize(("where", "step"), [(os, "fsync"), (Path, "replace")])
    def test_json_is_replaced_whole_or_not_at_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, step: str
    ) -> None:
        path = tmp_path / "status.json"
        layout.write_json(path, {"n": 1})

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(where, step, full)
        with pytest.raises(OSError, match="No space"):
            layout.write_json(path, {"n": 2})
        assert layout.read_json(path) == {"n": 1}
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["status.json"]

    def test_what_is_no_json_leaves_the_old_value(self, tmp_path: Path) -> None:
        path = tmp_path / "status.json"
        layout.write_json(path, {"n": 1})
        with pytest.raises(TypeError):
            layout.write_json(path, {"n": object()})
        assert layout.read_json(path) == {"n": 1}
        assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["status.json"]

    @pytest.mark.parametrize("content", [b"", b'{"state":', b"\0\0\0"])
    def test_json_that_a_power_cut_has_spoilt_is_nothing(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "status.json").write_bytes(content)
        assert layout.read_json(tmp_path / "status.json") is None

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (layout.RunnerError("changed", "x"), "changed"),
            (OSError(errno.ENOSPC, "x"), "no_space"),
            (OSError(errno.EDQUOT, "x"), "no_space"),
            (OSError(errno.EIO, "x"), "failed"),
            (ValueError("x"), "bad_request"),
            (KeyError("x"), "bad_request"),
            (RecursionError("x"), "failed"),
        ],
    )
    def test_every_error_has_a_kind(self, error: Exception, kind: str) -> None:
        assert layout.describe(error)["kind"] == kind
        assert "x" in layout.describe(error)["message"]

    def test_a_link_that_is_impossible_becomes_a_copy(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blob = layout.blob_path(root, "a" * 64)
        blob.parent.mkdir()
        blob.write_bytes(b"content")

        def no_links(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        monkeypatch.setattr(jobs, "_spawn", lambda *_: None)
        jobs.start(root, request(inputs=[{"index": 0, "suffix": ".mp4", "blob": "a" * 64}]))
        assert (root / "jobs" / JOB / "in" / "0.mp4").read_bytes() == b"content"


class TestState:
    def test_one_who_only_looks_does_not_keep_a_job_from_being_started(self, created: Path) -> None:
        looker = os.open(created / "lock", os.O_RDWR)
        fcntl.flock(looker, fcntl.LOCK_SH)
        timer = threading.Timer(0.2, os.close, [looker])
        timer.start()
        lock = state.seize(created)
        timer.join()
        assert lock is not None
        os.close(lock)

    def test_a_living_job_cannot_be_seized(self, created: Path) -> None:
        supervisor = os.open(created / "lock", os.O_RDWR)
        fcntl.flock(supervisor, fcntl.LOCK_EX)
        assert state.is_alive(created)
        assert state.seize(created) is None
        os.close(supervisor)
        assert not state.is_alive(created)

    def test_a_job_whose_supervisor_never_began_can_be_started_again(self, root: Path, created: Path) -> None:
        assert state.of(created) == "created"
        assert started(root) in ("running", "ended")
        wait_for_end(created)
        assert state.last_word(created)["exit"] == 0

    def test_a_job_cancelled_before_it_began_never_begins(self, root: Path, created: Path) -> None:
        assert jobs.cancel(root, {"job": JOB, "grace": 0}) == {"state": "ended"}
        assert started(root) == "ended"
        assert state.last_word(created) == {"state": "ended", "cancelled": True}

    def test_a_spoilt_status_is_a_lost_job(self, created: Path) -> None:
        (created / "status.json").write_bytes(b"")
        assert state.of(created) == "lost"

    def test_a_start_that_fails_leaves_no_lock_behind(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_memory(*_: object, **__: object) -> None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_memory)
            with pytest.raises(OSError, match="memory"):
                jobs.start(root, request())
        assert state.of(created) == "created"

    def test_two_creations_at_once_leave_one_job_and_no_draft(self, root: Path, created: Path) -> None:
        jobs._create(root, created, request())
        assert [entry.name for entry in created.parent.iterdir()] == [JOB]


class TestSupervisor:
    def test_whatever_goes_wrong_is_its_last_word(self, root: Path, created: Path) -> None:
        (created / "start.json").write_text('{"script":"v1/quick.py"}')
        started(root)
        wait_for_end(created)
        assert state.last_word(created)["error"]["message"] == "the request has no 'environment'"

    def test_a_second_signal_does_not_keep_it_from_its_last_word(self, created: Path) -> None:
        # In a process of its own: it sets signal handlers, and the second signal comes as the first is dealt with.
        code = (
            "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
            "from pathlib import Path\n"
            "from _runner import processes, supervisor\n"
            "def again(root, folder): os.kill(os.getpid(), signal.SIGTERM); return 0\n"
            "def end(job, grace): os.kill(os.getpid(), signal.SIGTERM)\n"
            "supervisor._run, processes.end = again, end\n"
            "folder = Path(sys.argv[2]); lock = os.open(str(folder / 'lock'), os.O_RDWR)\n"
            "supervisor.supervise(folder.parents[1], folder.name, lock)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(FOLDER), str(created)], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert state.last_word(created)["terminated"] == "SIGTERM"

    def test_the_heart_beats_while_the_script_runs(self, created: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervisor, "HEARTBEAT", 0.05)
        layout.write_json(created / "status.json", {"state": "running"})
        os.utime(created / "status.json", (0, 0))
        script = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        assert script.stdin
        before = signal.getsignal(signal.SIGALRM)
        with supervisor._heartbeat(created):
            while state.age(created) > 1000:
                time.sleep(0.01)
        script.stdin.close()
        script.wait()
        signal.signal(signal.SIGALRM, before)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def wait_for_end(job: Path) -> None:
    while state.of(job) == "running":
        time.sleep(0.02)


SLEEP = "import sys, time; print('here', flush=True); time.sleep(600)"
HIDE = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        print(os.getpid(), flush=True)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
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

    def test_a_zombie_is_no_living_process(self, sleeper: Any) -> None:
        process = sleeper(JOB)
        process.stdout.readline()
        assert processes.find(JOB) == {process.pid}
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not buried
        assert processes.find(JOB) == set()

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


class TestMachine:
    @pytest.mark.parametrize(
        ("version", "specifier", "met"),
        [
            ("3.10.4", ">=3.10", True),
            ("3.9.18", ">=3.10", False),
            ("3.10", ">=3.10.0", True),
            ("3.10", "==3.10.0", True),
            ("18.1.0", "==18.1", True),
            ("18.1.1", "==18.1", False),
            ("2.9", ">=2.10", False),
            ("2.5.1+cu121", ">=2.4,<3", True),
            ("2.5.1+cu121", "==2.5.1", True),
            ("3.0", ">=2.4, <3", False),
            ("1.0", "!=1.0", False),
            ("1.0", ">1.0", False),
            ("1.0.1", ">1.0", True),
            ("1.0", "<=1.0", True),
            ("4.12.0.88", ">= 4.12", True),
            ("3.13.0rc1", ">=3.11", True),
            ("1.0", "", True),
        ],
    )
    def test_versions(self, version: str, specifier: str, met: bool) -> None:
        assert machine.satisfies(version, specifier) is met

    @pytest.mark.parametrize("specifier", ["~=1.0", "==1.*", "===1.0", "1.0", ">=a", ">=1.0 <2"])
    def test_a_clause_that_is_not_understood_is_not_taken_for_met(self, specifier: str) -> None:
        with pytest.raises(ValueError, match="clause"):
            machine.satisfies("1.0", specifier)

    def test_packages_are_looked_up_by_name_and_version(self) -> None:
        assert machine._lacking_packages(["pytest", "pytest>=1", "pytest >= 1, < 1000"]) == []
        assert machine._lacking_packages(["pytest<1", "no-such-package>=2"]) == [
            f"pytest<1 is needed, {pytest.__version__} is installed",
            "no-such-package>=2 is not installed",
        ]

    @pytest.mark.parametrize("requirement", ["", "a[b]>=1", "a; python_version<'3'", ">=1"])
    def test_a_requirement_that_is_not_understood_is_refused(self, requirement: str) -> None:
        with pytest.raises(ValueError, match="not a"):
            machine._lacking_packages([requirement])

    @pytest.mark.parametrize(
        ("says", "gpu"),
        [
            (
                "echo 'NVIDIA H200, 143771, 570.1'",
                {"name": "NVIDIA H200", "memory_bytes": 143771 * 2**20, "driver": "570.1"},
            ),
            ("echo 'NVIDIA GB10, [N/A], 580.0'", {"name": "NVIDIA GB10", "memory_bytes": None, "driver": "580.0"}),
            ("echo 'A, 1, 2'; echo 'B, 3, 4'", {"name": "A", "memory_bytes": 2**20, "driver": "2"}),
            ("echo 'no devices were found'; exit 6", None),
            ("echo garbage", None),
        ],
    )
    def test_a_gpu(self, root: Path, monkeypatch: pytest.MonkeyPatch, says: str, gpu: Any) -> None:
        program = root / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o700)
        monkeypatch.setenv("PATH", str(root), prepend=os.pathsep)
        assert machine.facts(root, {})["gpu"] == gpu


class TestGc:
    def test_leftovers_of_killed_runners_go_too(self, root: Path) -> None:
        for name in ("jobs/.new-abcd-1/in", "jobs/.old-abcd-2/out", "parts/" + "a" * 64, "blobs"):
            (root / name).mkdir(parents=True)
        draft = root / "blobs" / ("b" * 64 + ".tmp")
        draft.touch()
        for path in root.rglob("*"):
            os.utime(path, (0, 0))
        assert blobs.gc(root, {"days": 7, "bytes": 0})["count"] == 4
        assert [list((root / name).iterdir()) for name in ("jobs", "parts", "blobs")] == [[], [], []]

    def test_the_reply_of_a_great_clearing_is_short(self, root: Path) -> None:
        (root / "blobs").mkdir()
        for number in range(1000):
            (root / "blobs" / f"{number:064d}").touch()
        reply = blobs.gc(root, {"days": -1, "bytes": 0})
        assert reply["count"] == 1000
        assert len(json.dumps(reply)) < 64 * 1024

    def test_the_list_of_a_great_many_jobs_is_short(self, root: Path) -> None:
        for number in range(600):
            (root / "jobs" / f"{number:064d}").mkdir(parents=True)
        reply = jobs.ls(root, {})
        assert len(reply["jobs"]) + reply["more"] == 600
        assert len(json.dumps(reply)) < 64 * 1024
