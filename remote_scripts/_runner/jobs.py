"""Jobs on this machine: a directory each, a supervisor each, and a lock that tells whether it lives.

job.json      what the script reads         status.json   what the supervisor last said
events.jsonl  what the script has printed   lock          held by the living supervisor
log.txt       its stderr                    wanted        deleted to cancel: that takes no room on a full disk
start.json    what the supervisor reads     reserve       room for the last word on a full disk
models/       those that the script needs
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterable

from _runner import layout, processes, state
from _runner.layout import RunnerError

TICK = 0.03
STUBBORN = 2.0
"""Seconds that a supervisor has to notice that its script is gone."""
LISTED = 400
"""Most jobs `ls` tells of: a reply is at most 64 KB."""


def start(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Create the job unless it is here already, and start it detached unless it was started already."""
    folder = layout.job_dir(root, request["job"])
    if not (folder / "job.json").exists():
        _create(root, folder, request)
    lock = state.seize(folder)
    if lock is not None:
        try:
            if not (folder / "status.json").exists():
                _spawn(folder, lock, request.get("secrets", {}))
        finally:
            os.close(lock)
    return {"state": state.of(folder)}


def _create(root: Path, folder: Path, request: Dict[str, Any]) -> None:
    layout.script_path(root, request["script"])
    draft = folder.with_name(".new-%s-%s" % (folder.name, layout.token()))
    (draft / "in").mkdir(parents=True, mode=0o700)
    draft.chmod(0o700)
    try:
        for entry in request["inputs"]:
            _place_input(root, entry, draft)
        _check_models(request.get("models") or (), draft)
        (draft / "wanted").touch()
        layout.reserve(draft)
        wanted = {name: request.get(name) for name in ("script", "environment", "client", "models", "offline")}
        layout.write_json(draft / "start.json", wanted)
        layout.write_json(draft / "job.json", request["spec"])
        draft.replace(folder)
    except OSError:
        if not (folder / "job.json").exists():  # else another start was quicker with the same job
            raise
    finally:
        shutil.rmtree(str(draft), ignore_errors=True)


def _place_input(root: Path, entry: Dict[str, Any], folder: Path) -> None:
    index = int(entry["index"])
    if not _place(root, entry, folder / "in" / layout.input_name(index, entry["suffix"])):
        raise RunnerError("changed", "input %d is not the file it was" % index)
    for checkpoint in entry.get("checkpoints", ()):
        path = layout.checkpoint_path(folder, index, checkpoint["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        _place(root, checkpoint, path)  # one that is not the file it was is done again


def _check_models(models: Iterable[Dict[str, Any]], folder: Path) -> None:
    # Now, while somebody listens: they are brought by the supervisor.
    found = [layout.model_path(folder, model["role"], file["path"]) for model in models for file in model["files"]]
    if len(set(found)) < len(found):
        raise ValueError("two files of a model have one name")


def _place(root: Path, entry: Dict[str, Any], path: Path) -> bool:
    if os.path.lexists(str(path)):
        raise ValueError("two files of the job are %s" % path.name)
    if "blob" in entry:
        layout.link(layout.blob_path(root, entry["blob"]), path)
    elif _mark(entry["path"]) == (entry["size"], entry["mtime_ns"]):
        path.symlink_to(entry["path"])
    return os.path.lexists(str(path))


def _mark(path: str) -> Any:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def _spawn(folder: Path, lock: int, extra: Dict[str, str]) -> None:
    runner = Path(__file__).resolve().parents[1] / "runner.py"
    with (folder / "log.txt").open("ab") as log:
        # The supervisor inherits the lock, so there is no moment at which a started job looks dead.
        subprocess.Popen(
            [sys.executable, str(runner), "supervise", folder.name],
            cwd=str(folder),
            env={**os.environ, **extra, processes.SUPERVISOR: folder.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock],
        )


def cancel(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """End the job's process tree. A job that is not here, or has ended, is no error."""
    folder = layout.job_dir(root, request["job"])
    if not folder.is_dir():
        return {"state": "unknown"}
    (folder / "wanted").unlink(missing_ok=True)  # first: a supervisor that starts the script looks for it afterwards
    processes.end(folder.name, float(request["grace"]))
    try:
        _outlast_supervisor(folder)
        _conclude(folder)
    except FileNotFoundError:  # its driver heard of its end first, and has acknowledged it
        return {"state": "unknown"}
    return {"state": state.of(folder)}


def _outlast_supervisor(folder: Path) -> None:
    stubborn = time.monotonic() + STUBBORN
    while state.of(folder) == "running" and time.monotonic() < stubborn + 1:
        if time.monotonic() > stubborn:  # stopped, or stuck
            processes.end_supervisor(folder.name)
        processes.end(folder.name, grace=0)
        time.sleep(TICK)


def _conclude(folder: Path) -> None:
    # Under the lock: a start that comes now finds the last word, and starts nothing.
    lock = state.seize(folder)
    if lock is not None:
        try:
            if not state.last_word(folder):
                layout.write_last_word(folder, {"cancelled": True})
        finally:
            os.close(lock)


def ack(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Delete a job whose results have arrived. One that still runs is refused."""
    folder = layout.job_dir(root, request["job"])
    if folder.is_dir():
        # By state, not by lock: a supervisor that has said its last word may need a moment to be gone.
        if state.of(folder) == "running":
            raise RunnerError("bad_request", "job %s is still running: cancel it first" % folder.name)
        processes.end(folder.name, grace=0)
        doomed = folder.with_name(".old-%s-%s" % (folder.name, layout.token()))
        with contextlib.suppress(FileNotFoundError):  # somebody else was quicker
            folder.replace(doomed)
        shutil.rmtree(str(doomed), ignore_errors=True)  # what resists is left to gc
    return {"state": "gone"}


def ls(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """List the jobs here: id, state, seconds since anything happened, who started it. `more` were left out."""
    folder = root / "jobs"
    found = sorted(e for e in folder.iterdir() if not e.name.startswith(".")) if folder.is_dir() else []
    return {"jobs": [_listed(entry) for entry in found[:LISTED]], "more": max(0, len(found) - LISTED)}


def _listed(folder: Path) -> Dict[str, Any]:
    wanted = layout.read_json(folder / "start.json") or {}
    about = {"job": folder.name, "state": state.of(folder), "age": round(state.age(folder), 3)}
    return {**about, "client": wanted.get("client")}
