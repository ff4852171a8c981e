"""Claim: ten thousand jobs wait cheaply: >= 500 submitted a second, `offload jobs ls` <= 0.3 s, memory flat.

    python benchmarks/queued.py [--jobs 10000] [--rounds 5] [--folder FOLDER]

The jobs wait for a target that is away. A submission is durable, so it waits for the disk: what that alone costs is
printed beside it. `ls` is a whole process; the same on an empty queue is printed beside it. Memory is that of a process
that submits them all, and of the scheduler that looks after them, each after a tenth and after all.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import away
from interleave import environment, machine, race, run

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker import settings
from broker.broker import Broker
from broker.job import Request
from tests.broker.jobs import request

LS = (sys.executable, "-m", "offload", "jobs", "ls")
SESSIONS = 5
SYNCS = 300
NOWHERE = "ssh://127.0.0.1:1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the journal lies; else with the temporary files")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        full, empty = (away.folders(Path(name) / one, NOWHERE) for one in ("full", "empty"))
        submit(Path(name), full, asked.jobs)
        ls(full, empty, asked.rounds)
        scheduler(full)


def submit(folder: Path, into: dict[str, str], count: int) -> None:
    """Submit them all, one by one, from one process."""
    disk = synced(folder)
    asked = request(folder / "media", b"work", on="away")
    with Broker(settings.load(into)) as broker:
        broker.journal.health.failed(broker.targets["away"], "away: no route")
        used, started = list[int](), time.perf_counter()
        for number in range(count):
            broker.submit(own(asked, number))
            if number in (count // 10, count - 1):
                used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        seconds = time.perf_counter() - started
    print(f"{count} jobs are submitted at {count / seconds:.0f} a second (>= 500); the disk alone takes {disk:.0f}")
    print(f"  memory: {used[0] / 1024:.1f} MB after a tenth, {used[-1] / 1024:.1f} after all")


def own(asked: Request, number: int) -> Request:
    [entry] = asked.inputs
    to = {name: dest.with_name(f"{number}.bin") for name, dest in entry.outputs.items()}
    return replace(asked, inputs=(replace(entry, outputs=to),), detached=True, session=str(number % SESSIONS))


def synced(folder: Path) -> float:
    """How often a second this disk takes a page for good."""
    started = time.perf_counter()
    with (folder / "pages").open("wb") as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
    return SYNCS / (time.perf_counter() - started)


def ls(full: dict[str, str], empty: dict[str, str], rounds: int) -> None:
    timing = race(lambda: listed(full), lambda: listed(empty), rounds)
    print(
        f"`offload jobs ls` takes {statistics.median(timing.ours):.3f} s (<= 0.3);"
        f" {statistics.median(timing.theirs):.3f} on an empty queue ({rounds} rounds, in turn)"
    )


def listed(where: dict[str, str]) -> None:
    with at(where):
        run(*LS, cwd=Path(__file__).parents[1])


@contextmanager
def at(where: dict[str, str]) -> Iterator[None]:
    before = dict(environment())
    environment().update(where)
    try:
        yield
    finally:
        environment().update(before)


def scheduler(full: dict[str, str]) -> None:
    """What the one process that looks after them all uses."""
    found = away.background(full)
    for process in found:
        before, seconds = process.memory_info().rss, process.cpu_times().user
        time.sleep(10)
        after, more = process.memory_info().rss, process.cpu_times().user
        print(f"  the scheduler: {before / 2**20:.1f} MB, {after / 2**20:.1f} ten seconds later")
        print(f"  it worked {more - seconds:.2f} s of them")
    away.end(found)
    print(f"  processes in the background: {len(found)}")


if __name__ == "__main__":
    main()
