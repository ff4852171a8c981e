"""The one process that stays with a job: starts its script, keeps its heartbeat, writes its last word."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Dict

from _runner import layout, machine, processes

HEARTBEAT = 5.0


class Terminated(Exception):
    """The machine asked this supervisor to go."""


def supervise(root: Path, job: str, lock: int) -> int:
    """See the job through. `lock` is the inherited descriptor that says we live; it must outlast the status."""
    folder = layout.job_dir(root, job)
    os.set_inheritable(lock, False)  # the script must not keep us looking alive
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _terminate)
    layout.write_json(folder / "status.json", {"state": "running", "pid": os.getpid()})
    started = time.monotonic()
    try:
        ending = _run(root, folder)
    except Terminated as error:
        ending = {"terminated": str(error)}
    except layout.RunnerError as error:
        ending = {"error": {"kind": error.kind, "message": str(error)}}
    processes.end(job, grace=0)
    ending["cancelled"] = (folder / "cancel").exists()
    layout.write_json(
        folder / "status.json", {"state": "ended", "seconds": round(time.monotonic() - started, 3), **ending}
    )
    return 0


def _terminate(number: int, frame: Any) -> None:
    raise Terminated(signal.Signals(number).name)


def _run(root: Path, folder: Path) -> Dict[str, Any]:
    wanted = layout.read_json(folder / "start.json")
    python = machine.interpreter(wanted["environment"])
    script = root / "scripts" / wanted["script"]
    with (folder / "events.jsonl").open("ab") as events, (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [python, str(script), "job.json"],
            cwd=str(folder),
            env=dict(os.environ, **{processes.COOKIE: folder.name, "PYTHONUNBUFFERED": "1"}),
            stdin=subprocess.DEVNULL,
            stdout=events,
            stderr=log,
            start_new_session=True,
        )
    return {"exit": _wait(process, folder)}


def _wait(process: "subprocess.Popen[bytes]", folder: Path) -> int:
    if (folder / "cancel").exists():
        processes.end(folder.name, grace=0)
    while True:
        try:
            return process.wait(HEARTBEAT)
        except subprocess.TimeoutExpired:
            os.utime(str(folder / "status.json"))
