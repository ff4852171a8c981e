"""Claim: of 1000 small jobs, submitted while the server is killed in the middle, none is lost and none is there twice.

    python benchmarks/submitted.py [--jobs 1000] [--clients 4] [--run 20]

Each client uploads a file and submits a job with an Idempotency-Key, again until it is answered. After a half of them
the server is killed (SIGKILL) and started again. The first `--run` jobs run here, and fail at once, since their files
are no clips; the others wait for a target that is away. What runs in the background is counted all the while.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import away
from interleave import environment, machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker import settings
from broker.broker import Broker
from server.client import Client
from tests.server.asking import WAITING
from tests.server.serving import Serving

FILES = 50
LOOK_SECONDS = 0.2
HANGS = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--run", type=int, default=20)
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = prepared(Path(name))
        with Serving(folder, environment()) as server, counted() as seen:
            answers, seconds = submit_all(server, folder, asked)
            over = ended(asked.run)
        with Broker(settings.load(environment())) as broker:
            there = {job.id for job in broker.journal.jobs(limit=10 * asked.jobs)}
        away.end(away.background(environment()))
    report(asked.jobs, answers, there, seconds)
    print(f"  the {asked.run} that run are over: {over}; at most {max(seen)} processes at a time in the background")


def prepared(folder: Path) -> Path:
    """The program's folders, and the files to upload."""
    (folder / "file").touch()
    environment().update(away.folders(folder, f"local://{folder}/file/x"))
    for number in range(FILES):
        (folder / f"{number}.mp4").write_text(f"this is no clip {number}")
    return folder


def submit_all(server: Serving, folder: Path, asked: argparse.Namespace) -> tuple[dict[str, str], float]:
    """The jobs' ids, by their keys; the server is killed and started again after half of them."""
    answers, half, started = dict[str, str](), threading.Event(), time.perf_counter()

    def submit(numbers: range) -> None:
        with Client(server.url, server.token, patience=HANGS) as client:
            for number in numbers:
                terms = {} if number < asked.run else WAITING
                file, key = folder / f"{number % FILES}.mp4", f"key-{number}"
                answers[key] = client.submit("stabilize", [file], key=key, **terms).job
                if len(answers) >= asked.jobs // 2:
                    half.set()

    with ThreadPoolExecutor(asked.clients) as pool:
        clients = [pool.submit(submit, range(first, asked.jobs, asked.clients)) for first in range(asked.clients)]
        half.wait(HANGS)
        server.kill()
        server.start()
        for client in clients:
            client.result()
    return answers, time.perf_counter() - started


def ended(count: int) -> int:
    """How many are over, once as many are as run, or when that takes too long."""
    until, found = time.monotonic() + HANGS, 0
    with Broker(settings.load(environment())) as broker:
        while found < count and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            found = sum(job.state.over for job in broker.journal.jobs(limit=10**6))
    return found


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many processes of ours, but for the server, there were at a time, looked at all the while."""
    seen, enough = [0], threading.Event()

    def look() -> None:
        while not enough.wait(LOOK_SECONDS):
            seen.append(len(away.background(environment())))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        enough.set()
        looking.join()


def report(count: int, answers: dict[str, str], there: set[str], seconds: float) -> None:
    lost = count - len(answers) + len(set(answers.values()) - there)
    twice = len(there - set(answers.values())) + sum(times - 1 for times in Counter(answers.values()).values())
    print(f"{count} jobs submitted in {seconds:.1f} s ({count / seconds:.0f} a second), the server killed after half")
    print(f"  answered {len(answers)}, in the journal {len(there)}; lost {lost} (0), there twice {twice} (0)")


if __name__ == "__main__":
    main()
