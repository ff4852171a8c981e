"""The one process that stays with a job: starts its script, keeps its heartbeat, writes its last word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator

from _runner import build, environment, layout, processes

HEARTBEAT = 5.0
SECRET = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
"""Variables that are none of a script's business."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Terminated(Exception):
    """The machine asked this supervisor to go."""


def supervise(root: Path, job: str) -> int:
    """See the job through. The lock that says we live is a descriptor we inherited, and never close."""
    folder = layout.job_dir(root, job)
    _adopt_orphans()
    started = time.monotonic()
    ending = _see_through(root, folder)
    processes.end(job, grace=0)
    if ending.get("exit") != 0 and layout.is_full(folder):
        ending["error"] = {"kind": "no_space", "message": "the disk is full where the job ran"}
    ending["cancelled"] = not (folder / "wanted").exists()
    layout.write_last_word(folder, {"seconds": round(time.monotonic() - started, 3), **ending})
    return 0


def _adopt_orphans() -> None:
    # A process of the job whose parent has gone becomes our child, so that it can be found and ended.
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            pr_set_child_subreaper = 36
            ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _see_through(root: Path, folder: Path) -> Dict[str, Any]:
    try:
        with _terminable():
            layout.write_json(folder / "status.json", {"state": "running", "pid": os.getpid()})
            return {"exit": _run(root, folder)}
    except Terminated as error:
        return {"terminated": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever went wrong must reach the follower
        return {"error": layout.describe(error)}


@contextmanager
def _terminable() -> Iterator[None]:
    # Once only: a second signal must not keep us from ending the job and saying so.
    _on_signals(_terminate)
    try:
        yield
    finally:
        _on_signals(signal.SIG_IGN)


def _on_signals(action: Any) -> None:
    for number in SIGNALS:
        signal.signal(number, action)


def _terminate(number: int, frame: Any) -> None:
    _on_signals(signal.SIG_IGN)
    raise Terminated(signal.Signals(number).name)


def _run(root: Path, folder: Path) -> int:
    wanted = layout.read_json(folder / "start.json")
    if os.environ.get("IMAGEIO_FFMPEG_EXE"):  # what it makes is no pinned ffmpeg's
        build.report(folder, {"type": "versions", "versions": {"own_ffmpeg": True}})
    with _heartbeat(folder), environment.provided(root, folder, wanted["environment"]) as python:
        _provide_models(root, folder, wanted)
        surroundings = _surroundings(root, folder.name, bool(wanted.get("offline")))
        process = _start(folder, python, layout.script_path(root, wanted["script"]), surroundings)
        if not (folder / "wanted").exists():  # cancelled when there was nothing to end yet
            processes.end(folder.name, grace=0)
        return _wait(process)


def _provide_models(root: Path, folder: Path, wanted: Dict[str, Any]) -> None:
    if wanted.get("models"):
        from _runner import models  # slow to import, and most jobs have none

        models.provide(root, folder, wanted)


def _surroundings(root: Path, job: str, offline: bool) -> Dict[str, str]:
    # Libraries are kept from fetching anything, and from what others have left in the user's caches.
    inherited = {name: value for name, value in processes.marked(job).items() if name not in SECRET}
    home = root / "models" / ".home"
    return {
        **inherited,
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_CACHE": str(home / "huggingface" / "hub"),
        "TORCH_HOME": str(home / "torch"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **({"OFFLOAD_OFFLINE": "1"} if offline else {}),
    }


def _start(folder: Path, python: str, script: Path, surroundings: Dict[str, str]) -> "subprocess.Popen[bytes]":
    with _deaf(), open(folder / "events.jsonl", "ab") as events, open(folder / "log.txt", "ab") as log:  # noqa: PTH123
        return subprocess.Popen(
            [python, str(script), "job.json"],
            cwd=str(folder),
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=events,
            stderr=log,
            start_new_session=True,
        )


@contextmanager
def _deaf() -> Iterator[None]:
    # A script inherits that it does not hear SIGINT: nobody is at its terminal, and a Python that hears it while it
    # starts ends with status 1, as one whose script failed.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _heartbeat(folder: Path) -> Iterator[None]:
    # An alarm, so that the wait for the script can be a plain one: it costs nothing and ends at once.
    signal.signal(signal.SIGALRM, lambda number, frame: os.utime(str(folder / "status.json")))
    signal.setitimer(signal.ITIMER_REAL, HEARTBEAT, HEARTBEAT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _wait(process: "subprocess.Popen[bytes]") -> int:
    while True:
        pid, status = os.waitpid(-1, 0)  # any: the orphans we adopted want burying too
        if pid == process.pid:
            process.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            return process.returncode
