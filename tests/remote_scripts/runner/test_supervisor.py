"""The one process that stays with a job has the last word, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from _runner import layout, state, supervisor

from tests.remote_scripts.runner.job import FOLDER, started, wait_for_end


class TestSupervisor:
    def test_whatever_goes_wrong_is_its_last_word(self, root: Path, created: Path) -> None:
        (created / "start.json").write_text('{"script":"v1/quick.py"}')
        started(root)
        wait_for_end(created)
        assert state.last_word(created)["error"]["message"] == "the request has no 'environment'"

    @pytest.mark.parametrize(
        ("run", "said"),
        [("os.kill(os.getpid(), signal.SIGTERM)", {"terminated": "SIGTERM"}), ("None", {"exit": 0})],
        ids=["after another", "after the script"],
    )
    def test_no_signal_keeps_it_from_its_last_word(self, created: Path, run: str, said: dict[str, Any]) -> None:
        # In a process of its own: it sets signal handlers. The last signal comes while it ends the job.
        code = (
            "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
            "from pathlib import Path\n"
            "from _runner import processes, supervisor\n"
            f"supervisor._run = lambda root, folder: {run} or 0\n"
            "processes.end = lambda job, grace: os.kill(os.getpid(), signal.SIGTERM)\n"
            "folder = Path(sys.argv[2])\n"
            "supervisor.supervise(folder.parents[1], folder.name)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(FOLDER), str(created)], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert (state.last_word(created) or {}).items() >= said.items()

    def test_the_first_signal_makes_it_deaf_to_all(self, signals: None) -> None:
        supervisor._on_signals(supervisor._terminate)
        with pytest.raises(supervisor.Terminated, match="SIGHUP"):
            os.kill(os.getpid(), signal.SIGHUP)
        assert [signal.getsignal(number) for number in supervisor.SIGNALS] == [signal.SIG_IGN] * 3

    def test_a_job_cancelled_while_its_script_was_being_started_ends(
        self, root: Path, created: Path, signals: None
    ) -> None:
        (root / "scripts" / "v1" / "quick.py").write_text("import time; time.sleep(600)")
        (created / "wanted").unlink()
        assert supervisor._run(root, created) == -signal.SIGKILL

    def test_a_script_is_deaf_to_interrupts_from_its_very_start(self, root: Path, created: Path, signals: None) -> None:
        # A Python that hears one while it starts ends with status 1, which is how a script fails.
        said = "import signal; print(signal.getsignal(signal.SIGINT).name)"
        (root / "scripts" / "v1" / "quick.py").write_text(said)
        assert supervisor._run(root, created) == 0
        assert (created / "events.jsonl").read_text() == "SIG_IGN\n"
        assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN

    def test_adopted_orphans_are_buried(self) -> None:
        orphan = subprocess.Popen([sys.executable, "-c", ""])
        script = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read(); exit(3)"], stdin=subprocess.PIPE
        )
        os.waitid(os.P_PID, orphan.pid, os.WEXITED | os.WNOWAIT)
        assert script.stdin
        script.stdin.close()
        assert supervisor._wait(script) == 3
        with pytest.raises(ChildProcessError):
            os.waitpid(orphan.pid, 0)
        orphan.wait()

    def test_the_heart_beats_while_the_script_runs(
        self, root: Path, created: Path, monkeypatch: pytest.MonkeyPatch, signals: None
    ) -> None:
        monkeypatch.setattr(supervisor, "HEARTBEAT", 0.05)
        layout.write_json(created / "status.json", {"state": "running"})
        os.utime(created / "status.json", (0, 0))
        look = "[time.sleep(0.01) for _ in range(1000) if os.stat('status.json').st_mtime == 0]"
        (root / "scripts" / "v1" / "quick.py").write_text(f"import os, time; exit(len({look}) == 1000)")
        assert supervisor._run(root, created) == 0
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
