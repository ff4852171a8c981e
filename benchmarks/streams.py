"""Claim: with 200 event streams at once, 95 % of events arrive <= 250 ms after the journal's commit.

    python benchmarks/streams.py [--streams 200] [--changes 50] [--every 0.3]

Half of them listen to one job, half to all jobs. This process drives the job, and notes when each change was committed;
another listens, and notes when each line arrived. There are 50 more jobs that only wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interleave import environment, machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker import settings
from broker.broker import Broker
from broker.job import Job, State
from tests.broker import jobs
from tests.server.serving import Serving

WAITING = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--every", type=float, default=0.3)
    parser.add_argument("--listen", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.listen:
        port, token, job = asked.listen
        print(json.dumps(asyncio.run(listen(int(port), token, job, asked.streams))))
        return
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment().update({f"OFFLOAD_{name}_DIR": str(folder / name) for name in ("CONFIG", "STATE", "CACHE")})
        with Broker(settings.load(environment())) as broker, Serving(folder, environment()) as server:
            job = submit(broker, folder)
            with listeners(server, job.id, asked.streams) as process:
                committed = drive(broker, job, asked.changes, asked.every)
                arrived = json.loads(process.communicate(timeout=60)[0])
    report(committed, arrived)


def submit(broker: Broker, folder: Path) -> Job:
    """The job that is driven, and those that wait."""
    asked = jobs.request(folder / "media", b"work")
    [entry] = asked.inputs
    for number in range(WAITING):
        to = {"worked.bin": folder / f"{number}.bin"}
        broker.submit(replace(asked, inputs=(replace(entry, outputs=to),)))
    return broker.submit(asked)


def listeners(server: Serving, job: str, count: int) -> subprocess.Popen[str]:
    """The process that listens, once all its streams are open."""
    typed = [sys.executable, __file__, "--streams", str(count), "--listen", str(server.port), server.token, job]
    process = subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    if process.stderr.readline() != "all listen\n":
        sys.exit(process.stderr.read())
    return process


def drive(broker: Broker, job: Job, changes: int, every: float) -> list[float]:
    """Change the job so often; returns when each change was committed."""
    ledger, committed = jobs.ledger(broker.journal, job.id), []
    ledger.advance(State.RUNNING)
    for number in range(1, changes + 1):
        time.sleep(every)
        ledger.note_progress(0, number / 1000)
        committed.append(time.monotonic())
    time.sleep(every)
    ledger.advance(State.CANCELLED, "cancelled", 130)
    return committed


async def listen(port: int, token: str, job: str, count: int) -> list[list[tuple[int, float]]]:
    """Per stream: when each change arrived."""
    opened = asyncio.Semaphore(0)
    paths = [f"/v1/jobs/{job}/events" if number % 2 else "/v1/events" for number in range(count)]
    tasks = [asyncio.create_task(stream(port, token, path, job, opened)) for path in paths]
    for _ in tasks:
        await opened.acquire()
    print("all listen", file=sys.stderr, flush=True)
    return await asyncio.gather(*tasks)


async def stream(port: int, token: str, path: str, job: str, opened: asyncio.Semaphore) -> list[tuple[int, float]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    lines = (f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {token}", "", "")
    writer.write("\r\n".join(lines).encode())
    found, over = list[tuple[int, float]](), False
    while not over:
        line = await reader.readline()
        arrived = time.monotonic()
        if not line:
            sys.exit(f"{path} ended too soon")
        if not line.startswith(b"data: "):
            continue
        told = json.loads(line[6:])
        if told["job"] == job:
            over = told["over"]
            found.append((round(told["progress"] * 1000), arrived))
            if len(found) == 1:
                opened.release()
    writer.close()
    return found


def report(committed: Sequence[float], arrived: list[list[tuple[int, float]]]) -> None:
    """A change that was overtaken by the next counts as late as that one."""
    delays = []
    for found in arrived:
        for number, at in enumerate(committed, 1):
            delays.append(next(moment for told, moment in found if told >= number) - at)
    cuts = statistics.quantiles(delays, n=100)
    print(f"{len(arrived)} streams, {len(committed)} changes, load {os.getloadavg()[0]:.1f}")
    print(f"  from commit to arrival: median {cuts[49] * 1000:.0f} ms, p95 {cuts[94] * 1000:.0f} ms (<= 250)")
    print(f"  p99 {cuts[98] * 1000:.0f} ms, longest {max(delays) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
