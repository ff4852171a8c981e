"""Claim: files over our Jupyter executor go at >= 0.8 of a bare httpx loop's speed, and need <= 64 MB more memory.

    python benchmarks/jupyter.py [--rounds 5] [--megabytes 200]

Both speak to one jupyter_server on this machine. The loop asks for one piece of 8 MiB after the other, and knows of
nothing that could go wrong. Ours sends parts of 8 MiB and fetches pieces of 2, as staging does, as many at once as the
executor has streams.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from interleave import Timing, race, report

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker.staging import FETCH_BYTES
from executors.base import PART_BYTES, Span
from executors.jupyter import JupyterExecutor
from tests.executors.jupyter_server import Server, jupyter

GOAL, MEMORY_GOAL = 0.8, 64e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)  # as the process that is measured
    arguments = parser.parse_args()
    if arguments.memory:
        grow(json.loads(arguments.memory[0]), Path(arguments.memory[1]))
        return
    with tempfile.TemporaryDirectory() as name, jupyter(Path(name)) as server:
        source = write_source(Path(name) / "source", arguments.megabytes)
        compare(server, source, arguments.rounds)
        words = [sys.executable, __file__, "--memory", json.dumps(server.options()), str(source)]
        for line in subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines():
            way, grown = line.split()
            print(
                f"{arguments.megabytes} MB {way}: {int(grown) / 1e6:.1f} MB more; the goal is {MEMORY_GOAL / 1e6:.0f}"
            )


def compare(server: Server, source: Path, rounds: int, goal: float = GOAL) -> None:
    down, megabytes = source.with_name("down"), source.stat().st_size // 10**6
    with JupyterExecutor("jup", server.options()) as ours, loop(server) as theirs:
        up = race(lambda: upload(ours, source), lambda: loop_up(theirs, source), rounds)
        show(f"{megabytes} MB up, in parts, versus a bare loop", up, goal)
        size = source.stat().st_size
        back = race(lambda: download(ours, size, down), lambda: loop_down(theirs, size, down), rounds)
        show(f"{megabytes} MB down, in parts, versus a bare loop", back, goal)
        assert down.read_bytes() == source.read_bytes()


def show(claim: str, timing: Timing, goal: float) -> None:
    speed = statistics.median(theirs / ours for ours, theirs in zip(timing.ours, timing.theirs, strict=True))
    report(claim, timing, f"{speed:.2f} of the loop's speed; the goal is {goal}")


def write_source(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def spans(size: int) -> list[Span]:
    return [Span(offset, min(PART_BYTES, size - offset)) for offset in range(0, size, PART_BYTES)]


def upload(executor: JupyterExecutor, source: Path) -> None:
    with ThreadPoolExecutor(executor.streams) as streams:

        def send(part: tuple[int, Span]) -> None:
            executor.put(source, part[1], f"up/{part[0]}")

        list(streams.map(send, enumerate(spans(source.stat().st_size))))


def download(executor: JupyterExecutor, size: int, target: Path) -> None:
    with target.open("wb") as file, ThreadPoolExecutor(executor.streams) as streams:

        def bring(offset: int) -> None:
            part, inside = divmod(offset, PART_BYTES)
            wanted = Span(inside, min(FETCH_BYTES, size - offset))
            os.pwrite(file.fileno(), executor.get(f"up/{part}", wanted), offset)

        list(streams.map(bring, range(0, size, FETCH_BYTES)))


def loop(server: Server) -> httpx.Client:
    headers = {"Authorization": f"token {server.token}", "Accept-Encoding": "identity"}
    return httpx.Client(base_url=server.place, headers=headers, timeout=60, trust_env=False)


def loop_up(client: httpx.Client, source: Path) -> None:
    with source.open("rb") as file:
        for number, data in enumerate(iter(lambda: file.read(PART_BYTES), b""), 1):
            model = {"type": "file", "format": "base64", "content": base64.b64encode(data).decode(), "chunk": number}
            client.put("api/contents/loop", json=model).raise_for_status()


def loop_down(client: httpx.Client, size: int, target: Path) -> None:
    with target.open("wb") as file:
        for span in spans(size):
            wanted = {"Range": f"bytes={span.offset}-{span.offset + span.length - 1}"}
            file.write(client.get("files/loop", headers=wanted).raise_for_status().content)


def peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def grow(options: dict[str, str], source: Path) -> None:
    """Say by how many bytes this process grows with the file, above what a tiny one takes."""
    with JupyterExecutor("jup", options) as executor:
        executor.put(source, Span(0, 1), "up/0")
        executor.get("up/0", Span(0, 1))
        before = peak()
        upload(executor, source)
        print("up", peak() - before)
        download(executor, source.stat().st_size, source.with_name("down"))
        print("up-and-down", peak() - before)


if __name__ == "__main__":
    main()
