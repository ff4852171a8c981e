"""Report: files through the command cgpu in parts, versus plain `cgpu copy` and `cgpu run -- base64`.

    python benchmarks/cgpu.py [--megabytes 10 100] [--start 0.5]

Against the stand-in, whose start takes as long as the real one's. Its downloads are as fast as this machine, and the
real one's 2.7 MiB a second; 402 MB is the end of both for one copy. So the seconds say what parts cost.

Memory is the growth of the peak. "ours": of the process that moves the parts. "the line's": the largest process of what
a person types, `cgpu copy FILE PLACE` or `cgpu run -- base64 FILE | tail -n +2 | base64 -d`; the stand-in's program
alone is about 10 MB of it. "the stand-in's": of this process, where all that the command does is done, for each call
that is under way. It holds a file that it copies several times over, as the real one does (1.4 GB for 200 MB); but the
real one is a program of a hundred megabytes before it does anything, so these figures are no measure of that.
"""

from __future__ import annotations

import argparse
import ctypes
import filecmp
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ssh_memory import CLEAR, STATUS, peak

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
                for how, move in (("in parts", in_parts), ("by cgpu alone", alone)):
                    before = settled()
                    said = move(command, way, source)
                    grown = f"{max(peak() - before, 0) / 1e6:.0f} MB of the stand-in's"
                    print(f"{megabytes} MB {way} {how}: {said}, {grown}", flush=True)


def in_parts(command: Cgpu, way: str, source: Path) -> str:
    options = command.google.options(url="colab+cgpu://", state=source.with_name("state"), client_file="")
    words = [sys.executable, __file__, "--part", json.dumps(options), way, str(source)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def write(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def ours(options: dict[str, str], way: str, source: Path) -> None:
    """Move a file in parts; print the seconds, and by how much this process grew."""
    size = source.stat().st_size
    with CgpuExecutor("colab", options) as executor, ThreadPoolExecutor(executor.streams) as streams:
        before, started = settled(), time.monotonic()
        if way == "up":
            list(streams.map(lambda span: executor.put(source, span, f"up/{span.offset}"), spans(size, PART_BYTES)))
        else:
            list(streams.map(lambda span: fetch(executor, span), spans(size, FETCH_BYTES)))
        print(f"{time.monotonic() - started:.1f} s; {(peak() - before) / 1e6:.0f} MB of ours")


def fetch(executor: CgpuExecutor, span: Span) -> None:
    """Fetch a piece; the parts that were sent lie there."""
    part = span.offset // PART_BYTES * PART_BYTES
    data = executor.get(f"up/{part}", Span(span.offset - part, span.length))
    assert len(data) == span.length


LINE = """
import resource, subprocess, sys
status = subprocess.run(["sh", "-c", sys.argv[1]], stdin=subprocess.DEVNULL).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
"""Types a line, and tells the memory of its largest process. It is small itself: a child's begins as its parent's."""


def alone(command: Cgpu, way: str, source: Path) -> str:
    """The same by one call of the command, which sends about 400 MB at most."""
    (machine,) = command.google.runtimes.values()
    there, out = machine.content / "whole", source.with_name("out")
    if way == "down":
        shutil.copyfile(source, there)
    cgpu = f"CGPU_CONFIG_DIR={shlex.quote(str(command.folder))} cgpu"
    line = f"{cgpu} copy {source} /content/whole >/dev/null"
    if way == "down":
        line = f"{cgpu} run -- base64 content/whole | tail -n +2 | base64 -d > {out}"
    started = time.monotonic()
    said = subprocess.run([sys.executable, "-SE", "-c", LINE, line], check=True, capture_output=True, text=True).stdout
    took, (status, largest) = time.monotonic() - started, map(int, said.split())
    if status:
        return f"it cannot; {largest / 1e6:.0f} MB of the line's"
    assert filecmp.cmp(there if way == "up" else out, source, shallow=False)
    return f"{took:.1f} s; {largest / 1e6:.0f} MB of the line's"


def spans(size: int, step: int) -> list[Span]:
    return [Span(offset, min(step, size - offset)) for offset in range(0, size, step)]


def settled() -> int:
    """The bytes that this process has in memory, without what it has freed; its peak begins anew."""
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR.write_text("5")
    return int(STATUS.read_text().partition("VmRSS:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
