"""Jobs on this machine: a directory each, a supervisor each, and a lock that tells whether it lives.

    job.json      what the script reads         status.json   what the supervisor last said
    events.jsonl  what the script has printed   lock          held by the living supervisor
    log.txt       its stderr                    cancel        somebody asked for the end
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from _runner import layout, processes
from _runner.layout import RunnerError

REPLY_BYTES = 48 * 1024
TICK = 0.03
LINGER = 1.0
"""Seconds that progress may wait for company, so that a reply is worth the process it costs."""


def start(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Create the job unless it is here already, and start it detached unless it was started already."""
    folder = layout.job_dir(root, request["job"])
    if not (folder / "job.json").exists():
        _create(root, folder, request)
    lock = _try_lock(folder, fcntl.LOCK_EX)
    if lock is not None:
        try:
            if not (folder / "status.json").exists():
                _spawn(folder, lock, request.get("secrets", {}))
        finally:
            os.close(lock)
    return {"state": _state(folder)}


def _create(root: Path, folder: Path, request: Dict[str, Any]) -> None:
    draft = folder.with_name(".new-%s-%s" % (folder.name, secrets.token_hex(4)))
    (draft / "in").mkdir(parents=True, mode=0o700)
    draft.chmod(0o700)
    try:
        for entry in request["inputs"]:
            _place(root, entry, draft / "in" / ("%d%s" % (int(entry["index"]), entry["suffix"])))
        layout.write_json(draft / "start.json", {"script": request["script"], "environment": request["environment"]})
        layout.write_json(draft / "job.json", request["spec"])
        draft.replace(folder)
    except OSError:
        if not (folder / "job.json").exists():  # else another start was quicker with the same job
            raise
    finally:
        shutil.rmtree(str(draft), ignore_errors=True)


def _place(root: Path, entry: Dict[str, Any], path: Path) -> None:
    if "blob" in entry:
        _link(layout.blob_path(root, entry["blob"]), path)
        return
    found = os.stat(entry["path"])
    if (found.st_size, found.st_mtime_ns) != (entry["size"], entry["mtime_ns"]):
        raise RunnerError("changed", "input %d is not the file it was" % entry["index"])
    path.symlink_to(entry["path"])


def _link(blob: Path, path: Path) -> None:
    try:
        os.link(str(blob), str(path))
    except OSError:  # another file system, or one without links
        shutil.copyfile(str(blob), str(path))


def _spawn(folder: Path, lock: int, extra: Dict[str, str]) -> None:
    runner = Path(__file__).resolve().parents[1] / "runner.py"
    # The supervisor inherits the lock, so there is no moment at which a started job looks dead.
    subprocess.Popen(
        [sys.executable, str(runner), "supervise", folder.name, str(lock)],
        cwd=str(folder),
        env=dict(os.environ, **extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log.txt").open("ab"),
        start_new_session=True,
        pass_fds=[lock],
    )


def _try_lock(folder: Path, mode: int) -> Optional[int]:
    descriptor = os.open(str(folder / "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_alive(folder: Path) -> bool:
    """Whether the job's supervisor lives."""
    if not (folder / "lock").exists():
        return False
    lock = _try_lock(folder, fcntl.LOCK_SH)
    if lock is not None:
        os.close(lock)
    return lock is None


def _state(folder: Path) -> str:
    """One of created, running, ended, lost (its supervisor is gone and left no word)."""
    alive = is_alive(folder)  # asked first: a supervisor writes its last word before it goes
    status = layout.read_json(folder / "status.json")
    if status and status["state"] == "ended":
        return "ended"
    if alive:
        return "running"
    return "lost" if status else "created"


def events(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Print event lines from byte `since` on; waits up to `wait` seconds for some, or for the job's end."""
    folder = _existing(root, request["job"])
    since, deadline = int(request["since"]), time.monotonic() + min(float(request["wait"]), 60.0)
    while True:
        state = _state(folder)
        lines, upto = _lines(folder / "events.jsonl", since)
        if state != "running" or time.monotonic() >= deadline or any(not _is_progress(line) for line in lines):
            break
        if lines:
            deadline = min(deadline, time.monotonic() + LINGER)
        time.sleep(TICK)
    if state == "lost":
        processes.end(folder.name, grace=0)
    for line in lines:
        sys.stdout.write(line)
    return {"next": upto, "state": state, "heartbeat_age": _heartbeat_age(folder), **_ending(folder, state)}


def _lines(path: Path, since: int) -> Tuple[List[str], int]:
    try:
        with path.open("rb") as file:
            file.seek(since)
            data = file.read(REPLY_BYTES)
    except FileNotFoundError:
        return [], since
    whole = data[: data.rfind(b"\n") + 1]  # the last line may still be on its way
    if not whole and len(data) == REPLY_BYTES:
        raise RunnerError("failed", "an event is longer than %d bytes" % REPLY_BYTES)
    return whole.decode("utf-8", "replace").splitlines(True), since + len(whole)


def _is_progress(line: str) -> bool:
    return line.startswith('{"type":"progress"')


def _ending(folder: Path, state: str) -> Dict[str, Any]:
    return {"ending": layout.read_json(folder / "status.json")} if state == "ended" else {}


def _heartbeat_age(folder: Path) -> float:
    try:
        return max(0.0, time.time() - (folder / "status.json").stat().st_mtime)
    except FileNotFoundError:
        return 0.0


def cancel(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """End the job's process tree. A job that is not here, or has ended, is no error."""
    folder = layout.job_dir(root, request["job"])
    if not folder.is_dir():
        return {"state": "unknown"}
    (folder / "cancel").touch()  # first: a supervisor about to start the script looks for it afterwards
    processes.end(folder.name, float(request["grace"]))
    deadline = time.monotonic() + 5.0
    while _state(folder) == "running" and time.monotonic() < deadline:
        processes.end(folder.name, 0)
        time.sleep(TICK)
    if _state(folder) in ("lost", "created"):
        layout.write_json(folder / "status.json", {"state": "ended", "cancelled": True})
    return {"state": _state(folder)}


def ack(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Delete a job whose results have arrived. One that still runs is refused."""
    folder = layout.job_dir(root, request["job"])
    if folder.is_dir():
        if is_alive(folder):
            raise RunnerError("bad_request", "the job is still running")
        doomed = folder.with_name(".old-%s-%s" % (folder.name, secrets.token_hex(4)))
        folder.replace(doomed)
        shutil.rmtree(str(doomed))
    return {"state": "gone"}


def ls(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """List the jobs here: id, state, seconds since anything happened."""
    folder = root / "jobs"
    found = sorted(e for e in folder.iterdir() if not e.name.startswith(".")) if folder.is_dir() else []
    return {"jobs": [{"job": e.name, "state": _state(e), "age": _heartbeat_age(e)} for e in found]}


def _existing(root: Path, job: str) -> Path:
    folder = layout.job_dir(root, job)
    if not (folder / "job.json").exists():
        raise RunnerError("no_job", "no job %s here" % job)
    return folder
