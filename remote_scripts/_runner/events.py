"""Following a job: what its script has printed, from any byte on, as long a wait as the caller likes."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, Tuple

from _runner import layout, state
from _runner.layout import RunnerError

PAGE_BYTES = 48 * 1024
MAX_WAIT = 60.0
TICK = 0.01
LINGER = 1.0
"""Seconds that progress may wait for company, so that a reply is worth the process it costs."""
LAST_BYTES = 56 * 1024
"""Most that a job's last reply brings, with its log: 64 KB are the most of any."""


def events(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Print event lines from byte `since` on; waits up to `wait` seconds for some, or for the job's end.

    The state is the job's as of byte `next`: a job with more to read is `running`, whatever has become of it. With
    `ack`, one that has ended is deleted as by that verb, if the reply can bring its whole log.
    """
    folder = layout.job_dir(root, request["job"])
    if not (folder / "job.json").exists():
        raise RunnerError("no_job", "no job %s here" % folder.name)
    page, upto, now = _await(folder, _start(folder / "events.jsonl", int(request["since"])), float(request["wait"]))
    if now == "lost":
        _bury(folder.name)
    sys.stdout.buffer.write(page)
    ending: Dict[str, Any] = {"ending": state.last_word(folder)} if now == "ended" else {}
    reply = {"next": upto, "state": now, "heartbeat_age": state.age(folder), **ending}
    if ending and request.get("ack"):
        reply.update(_acknowledged(root, folder, LAST_BYTES - len(page)))
    return reply


def _acknowledged(root: Path, folder: Path, room: int) -> Dict[str, str]:
    log = folder / "log.txt"
    if log.exists() and log.stat().st_size > room:
        return {}
    said = log.read_bytes().decode("utf-8", "replace") if log.exists() else ""
    if len(json.dumps(said)) > room:
        return {}
    from _runner import jobs  # for a job's last reply alone

    jobs.ack(root, {"job": folder.name})
    return {"log": said}


def _start(path: Path, since: int) -> int:
    # Less than was read already: the job was made anew, on a machine that had lost it.
    return since if path.exists() and since <= path.stat().st_size else 0


def _await(folder: Path, since: int, wait: float) -> Tuple[bytes, int, str]:
    deadline = time.monotonic() + min(wait, MAX_WAIT)
    while True:
        now = state.of(folder)  # asked before reading: once it has ended, nothing is written any more
        page, more = _page(folder / "events.jsonl", since)
        if more or now != "running" or time.monotonic() >= deadline or not _only_progress(page):
            return page, since + len(page), "running" if more else now
        if page:
            deadline = min(deadline, time.monotonic() + LINGER)
        time.sleep(TICK)


def _page(path: Path, since: int) -> Tuple[bytes, bool]:
    try:
        with path.open("rb") as file:
            file.seek(since)
            data = file.read(PAGE_BYTES)
    except FileNotFoundError:
        return b"", False
    page = data[: data.rfind(b"\n") + 1]  # the last line may still be on its way
    full = len(data) == PAGE_BYTES
    if full and not page:
        raise RunnerError("failed", "the script printed a line of more than %d bytes" % PAGE_BYTES)
    return page, full


def _only_progress(page: bytes) -> bool:
    return all(line.startswith(b'{"type":"progress"') for line in page.split(b"\n")[:-1])


def _bury(job: str) -> None:
    from _runner import processes  # rarely needed: its supervisor is gone, the script may not be

    processes.end(job, grace=0)
