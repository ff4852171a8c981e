"""Claim: sending and fetching over SSH takes <= 64 MB of memory here, however large the file.

    python benchmarks/ssh_memory.py [--megabytes 100 1000]

The growth of the peak over a connection that has carried one byte each way, a process of its own for each size. Files
are fetched as jobs fetch them, with their sha256.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

from interleave import machine
from ssh import upload_parts

from broker.staging import fetch, file_sha256
from executors.base import Span
from executors.ssh import SSHExecutor
from tests.executors.sshd import sshd, why_not

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000])
    if reason := why_not():
        sys.exit(reason)
    print(machine())
    print("growth of this side's memory over SSH, MB; the goal is <= 64")
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for size in parser.parse_args().megabytes:
            up, down = pool.apply(growth, (size * 1_000_000,))
            print(f"  {size:6d} MB   up {up / 1e6:6.1f}   down {down / 1e6:6.1f}")


def growth(size: int) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as name, sshd(Path(name)) as server:
        source = Path(name) / "source"
        with source.open("wb") as file:
            file.truncate(size)
        sha256 = file_sha256(source)
        with SSHExecutor("box", server.options()) as executor:
            executor.put(source, Span(0, 1), "whole")
            executor.get("whole", Span(0, 1))
            before = peak()
            upload_parts(executor, source)
            up = peak() - before
            (server.folder / "root/whole").unlink()
            (server.folder / "root/whole").hardlink_to(source)
            CLEAR.write_text("5")  # the peak begins anew
            fetch(executor, "whole", size, sha256, Path(name) / "down")
            return up, peak() - before


def peak() -> int:
    """Most bytes this process had in memory."""
    return int(STATUS.read_text().partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
