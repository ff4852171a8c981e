"""Many processes at once on one journal: `python -m tests.broker.herd submit|apart|hammer FOLDER COUNT SECONDS`.

Each prints one line of JSON: what it was told.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from multiprocessing.synchronize import Barrier
from pathlib import Path

from broker import lease, settings
from broker.broker import Broker
from broker.job import FileId, Request, State
from broker.journal import Journal
from broker.stop import Stop
from broker.targets import Target
from tests.broker.again import elsewhere
from tests.broker.jobs import request

HANGS = 300.0
SECONDS_OF_WORK = 0.2
LEAST = 3
"""Jobs of each that hammers, however slow the machine is."""


def submit(folder: Path, barrier: Barrier, number: int, seconds: float) -> None:
    """Ask for the same as all the others, at the same moment, and see it through."""
    asked = request(folder / "media", b"the same", seconds=SECONDS_OF_WORK)
    barrier.wait(HANGS)
    with Broker(settings.load()) as broker:
        seen = broker.journal.place()
        barrier.wait(HANGS)
        job = broker.submit(asked, seen)
        for _ in broker.drive(job, Stop()):
            pass
        done = broker.journal.job(job.id)
        tell({"job": job.id, "state": done.state, "outputs": [str(done.items[0].outputs[0].dest)]})


def apart(folder: Path, barrier: Barrier, number: int, seconds: float) -> None:
    """Ask for the same as all the others, at the same moment, for a place of one's own."""
    asked = elsewhere(request(folder / "media", b"the same", seconds=SECONDS_OF_WORK), folder / f"place-{number}")
    barrier.wait(HANGS)
    with Broker(settings.load()) as broker:
        barrier.wait(HANGS)
        job = broker.submit(asked)
        for _ in broker.drive(job, Stop()):
            pass
        done = broker.journal.job(job.id)
        tell({"job": job.id, "state": done.state, "outputs": [str(done.items[0].outputs[0].dest)]})


def hammer(folder: Path, barrier: Barrier, number: int, seconds: float) -> None:
    """Write all there is to write, again and again; count what was said to be durable."""
    durable, source = Counter[str](), folder / f"{number}.dat"
    source.write_bytes(b"%d" % number)
    with Journal(folder / "journal.sqlite3") as journal:
        barrier.wait(HANGS)
        until = time.monotonic() + seconds
        while time.monotonic() < until or durable["jobs"] < LEAST:
            _one_job(journal, folder, source, f"{number}-{durable['jobs']}", durable)
    tell(durable)


def _one_job(journal: Journal, folder: Path, source: Path, key: str, durable: Counter[str]) -> None:
    asked = request(folder / f"media-{source.stem}", b"x")
    file_id = FileId.of(source)
    job = journal.submit(asked, key, [(file_id, "0" * 64)], {})
    durable["jobs"] += 1
    _drive(journal, folder, job.id, asked, durable)
    journal.hashes.remember(folder / key, file_id, sha256(key.encode()).hexdigest())
    journal.health.failed(Target(f"target-{key}", "nowhere", {}), "it is away")
    durable["hashes"] += 1
    durable["health"] += 1


def _drive(journal: Journal, folder: Path, job: str, asked: Request, durable: Counter[str]) -> None:
    with lease.hold(journal, folder / "leases", job, 3600) as ledger:
        ledger.advance(State.RUNNING)
        lost = ledger.begin_attempt("there", "why")
        ledger.end_attempt(lost, "lost", "gone", {})
        attempt = ledger.begin_attempt("here", "why")
        durable["attempts"] += 2
        ledger.note_progress(0, 0.5)
        ledger.intend(attempt, 0, {"worked.bin": (1, "0" * 64)}, {"a": 1})
        ledger.published(0, "worked.bin", asked.inputs[0].outputs["worked.bin"])
        durable["published"] += 1
        ledger.end_attempt(attempt, "done", "", {})
        ledger.advance(State.DONE)
        durable["done"] += 1


def tell(what: object) -> None:
    """Print a line in one piece."""
    os.write(1, json.dumps(what).encode() + b"\n")


def _one(does: Callable[..., None], folder: Path, barrier: Barrier, number: int, seconds: float) -> None:
    try:
        does(folder, barrier, number, seconds)
    except BaseException:
        barrier.abort()  # the others would wait for who comes no more
        raise


def main() -> int:
    """Be the herd; returns how many of it failed."""
    what, folder, count, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    fork = multiprocessing.get_context("fork")  # starting that many interpreters would take longer than what they do
    barrier = fork.Barrier(count)
    does = partial(_one, {"submit": submit, "apart": apart, "hammer": hammer}[what])
    herd = [fork.Process(target=does, args=(folder, barrier, number, seconds)) for number in range(count)]
    for process in herd:
        process.start()
    for process in herd:
        process.join()
    return sum(process.exitcode != 0 for process in herd)


if __name__ == "__main__":
    sys.exit(main())
