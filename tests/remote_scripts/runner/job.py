"""A job to play with, under a root that has the runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import remote_scripts

FOLDER = Path(remote_scripts.__path__[0])
JOB = "test" + os.urandom(6).hex()
"""Never the same: what an interrupted run has left is found by its job."""


def request(job: str = JOB, **fields: Any) -> dict[str, Any]:
    environment = {"requires_python": "", "dependencies": [], "install": ""}
    return {"job": job, "script": "v1/quick.py", "spec": {}, "inputs": [], "environment": environment, **fields}


def started(root: Path) -> str:
    """Start the job as an executor would, by the runner under the root."""
    command = [sys.executable, str(root / "scripts" / "v1" / "runner.py"), "start"]
    done = subprocess.run(command, input=json.dumps(request()).encode(), capture_output=True)
    assert done.returncode == 0, done.stdout
    return str(json.loads(done.stdout)["state"])


def wait_for_end(job: Path) -> None:
    from _runner import state  # found once this package is

    while state.of(job) == "running":
        time.sleep(0.02)
