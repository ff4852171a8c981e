"""Report: files through the command cgpu in parts, versus plain `cgpu copy` and `cgpu run -- base64`.

    python benchmarks/cgpu.py [--megabytes 10 100] [--start 0.5]

Against the stand-in, whose start takes as long as the real one's. What the real one copies at once it holds in memory
several times, and 402 MB is its end; its downloads are 2.7 MiB a second, and here as fast as this machine. So the
seconds say what parts cost, and the memory is that of our side alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from broker.staging import FETCH_BYTES
from executors.base import PART_BYTES, Span
from executors.colab import CgpuExecutor
from tests.colab.double import double
from tests.executors.cgpu_double import Cgpu, cgpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--start", type=float, default=0.5)
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)  # as the process that is measured
    arguments = parser.parse_args()
    if arguments.part:
        ours(json.loads(arguments.part[0]), arguments.part[1], Path(arguments.part[2]))
        return
    with (
        tempfile.TemporaryDirectory() as name,
        pytest.MonkeyPatch.context() as patch,
        double(Path(name) / "google") as google,
        cgpu(google, patch) as command,
    ):
        command.connect()
        for megabytes in arguments.megabytes:
            command.start_seconds = arguments.start
            source = write(Path(name) / "source", megabytes)
            for way in ("up", "down"):
                said = subprocess.run([*words(command, name), way, str(source)], check=True, capture_output=True)
                print(f"{megabytes} MB {way} in parts: {said.stdout.decode().strip()}", flush=True)
                print(f"{megabytes} MB {way} by cgpu alone: {alone(command, way, source)}", flush=True)


def words(command: Cgpu, name: str) -> list[str]:
    options = command.google.options(url="colab+cgpu://", state=f"{name}/state", client_file="")
    return [sys.executable, __file__, "--part", json.dumps(options)]


def write(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def ours(options: dict[str, str], way: str, source: Path) -> None:
    """Move a file in parts; print the seconds, and by how much this process grew."""
    size = source.stat().st_size
    with CgpuExecutor("colab", options) as executor, ThreadPoolExecutor(executor.streams) as streams:
        before, started = peak(), time.monotonic()
        if way == "up":
            list(streams.map(lambda span: executor.put(source, span, f"up/{span.offset}"), spans(size, PART_BYTES)))
        else:
            list(streams.map(lambda span: fetch(executor, span), spans(size, FETCH_BYTES)))
        print(f"{time.monotonic() - started:.1f} s, {(peak() - before) / 1e6:.0f} MB more memory")


def fetch(executor: CgpuExecutor, span: Span) -> None:
    """Fetch a piece; the parts that were sent lie there."""
    part = span.offset // PART_BYTES * PART_BYTES
    data = executor.get(f"up/{part}", Span(span.offset - part, span.length))
    assert len(data) == span.length


def alone(command: Cgpu, way: str, source: Path) -> str:
    """The same by one call of the command, which sends about 400 MB at most."""
    (machine,) = command.google.runtimes.values()
    asked = ["copy", str(source), "/content/whole"] if way == "up" else ["run", "--", "base64", "content/whole"]
    if way == "down":
        (machine.content / "whole").write_bytes(source.read_bytes())
    started = time.monotonic()
    with source.with_name("out").open("wb") as out:
        environment = ["env", f"CGPU_CONFIG_DIR={command.folder}", "cgpu"]
        done = subprocess.run([*environment, *asked], check=False, stdin=subprocess.DEVNULL, stdout=out)
    took = time.monotonic() - started
    if done.returncode:
        return "it cannot"
    assert (machine.content / "whole").stat().st_size == source.stat().st_size
    assert way == "up" or source.with_name("out").stat().st_size >= source.stat().st_size * 4 // 3
    return f"{took:.1f} s"


def spans(size: int, step: int) -> list[Span]:
    return [Span(offset, min(step, size - offset)) for offset in range(0, size, step)]


def peak() -> float:
    """The most memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
