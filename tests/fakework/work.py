# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Pretend to work: write a deterministic function of the input, slowly, a chunk at a time.

params:  seconds (per item), size (bytes of the output), digest (a second output), noise (print rubbish),
         family (a child, and a grandchild that is hard to end), hold (a folder: half-way an item waits until the
         file of its number is there), trouble (what goes wrong with the whole script; see `_cause`),
         steps (so many pieces, each a checkpoint, logged when made; a fresh item's hold and trouble come after 70 %)
input:   one that begins with `!bad_input`, `!missing`, `!failed`, `!limit` or `!memory` fails that way, alone
output:  worked.bin, and digest.txt when asked for
"""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from _job import BadInput, Item, ItemError, Job, LimitExceeded, Missing, Result, run

CHUNKS = 20
HOLD_SECONDS = 300
ESCAPE = "\x1b[2J"


def work(job: Job, item: Item) -> Result:
    """Do one item."""
    job.emit("versions", versions={"fakework": "1", "python": platform.python_version()})
    if job.params.get("noise"):
        _be_noisy(job, item)
    if job.params.get("family"):
        _raise_family()
    data = item.input.read_bytes()
    _fail_if_told(data)
    worked = item.out / "worked.bin"
    if job.params.get("steps"):
        _piecemeal(job, item, data, worked)
        return Result((worked, *_more(job, item, data)), {"bytes": len(data)})
    with worked.open("wb") as file:
        for number, chunk in enumerate(_pieces(job, data, CHUNKS)):
            time.sleep(float(job.params.get("seconds", 1.0)) / CHUNKS)
            file.write(chunk)
            file.flush()
            job.progress(item, (number + 1) / CHUNKS, speed=1.0)
            if number == CHUNKS // 2:
                _hold(job.params.get("hold", ""), item)
                _cause(job.params.get("trouble", ""), job, item)
    return Result((worked, *_more(job, item, data)), {"bytes": len(data)})


def _pieces(job: Job, data: bytes, count: int) -> list[bytes]:
    size = int(job.params["size"])
    whole, edges = hashlib.shake_256(data).digest(size), [size * number // count for number in range(count + 1)]
    return [whole[start:end] for start, end in pairwise(edges)]


def _hold(folder: str, item: Item) -> None:
    until = time.monotonic() + HOLD_SECONDS
    while folder and not Path(folder, str(item.index)).exists():
        if time.monotonic() > until:
            raise ItemError("nobody let go of it")
        time.sleep(0.01)


def _piecemeal(job: Job, item: Item, data: bytes, worked: Path) -> None:
    steps = int(job.params["steps"])
    with worked.open("wb") as file:
        for step, content in enumerate(_pieces(job, data, steps)):
            name = f"step-{step}"
            piece = item.checkpoints.get(name)
            if piece is None:
                piece = _make(job, item, name, content)
            file.write(piece.read_bytes())
            job.progress(item, (step + 1) / steps, speed=1.0)
            if (step + 1) * 10 // steps == 7 and not item.checkpoints:
                _hold(job.params.get("hold", ""), item)
                _cause(job.params.get("trouble", ""), job, item)


def _make(job: Job, item: Item, name: str, content: bytes) -> Path:
    time.sleep(float(job.params.get("seconds", 1.0)) / int(job.params["steps"]))
    print(f"made {name} of item {item.index}", file=sys.stderr)
    draft = item.out / "draft"
    draft.write_bytes(content)
    place = job.checkpoint(item, name, draft)
    if job.params.get("trouble") == "vanish":  # announced, and gone when somebody comes for it
        place.rename(item.out / name)
        return item.out / name
    return place


def _more(job: Job, item: Item, data: bytes) -> Iterator[Path]:
    asked, unasked = item.out / "digest.txt", item.out / "extra.bin"
    if job.params.get("digest"):
        asked.write_text(hashlib.sha256(data).hexdigest())
        yield asked
    if job.params.get("trouble") == "extra":
        unasked.write_bytes(b"nobody asked for this")
        yield unasked


def _fail_if_told(data: bytes) -> None:
    kind = data[1:20].split(b"\n")[0].decode("ascii", "replace") if data[:1] == b"!" else ""
    errors = {
        "bad_input": BadInput("this is no work"),
        "missing": Missing("a tool is missing; install it with: true"),
        "failed": ItemError("it does not work"),
        "limit": LimitExceeded("too much work"),
        "memory": MemoryError("no room to think"),
    }
    if kind in errors:
        raise errors[kind]


def _cause(trouble: str, job: Job, item: Item) -> None:
    if trouble == "exit":
        print(f"giving {ESCAPE}up", file=sys.stderr)
        os._exit(3)
    if trouble.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[trouble])
        time.sleep(60)
    if trouble == "log":
        job.log(item, f"look: {ESCAPE}\nmade up line")
    if trouble == "invent":  # a name nobody asked for, of the same item: it must not come to anything
        (item.out / "invented.bin").write_bytes(b"invented")
        files = [{"name": "../invented.bin", "size": 8, "sha256": "0" * 64}]
        job.emit("item_done", index=item.index, files=files, measured={})
        time.sleep(60)
    if trouble.startswith("memory below ") and job.ease < int(trouble.split()[-1]):
        raise MemoryError("the batch is too large")
    if trouble.startswith("memory on ") and f"/{trouble.split()[-1]}/" in str(Path.cwd()):
        raise MemoryError("this machine is too small")
    if trouble == "nonsense":
        job.emit("progress", index="x", fraction=None)
        job.emit("log", index=10**6, message="no such item")
        job.emit("versions", versions="1")


def _be_noisy(job: Job, item: Item) -> None:
    print("this is not an event")
    os.write(1, b"\xff\xfe nor is this\n")
    print("a warning", file=sys.stderr)
    job.log(item, "hello")


def _raise_family() -> None:
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
        time.sleep(120)
        os._exit(0)


if __name__ == "__main__":
    sys.exit(run(work))
