"""Claim: parts over our SSH executor go at >= 0.7 of scp's speed up, and >= 0.9 down.

    python benchmarks/ssh.py [--rounds 7] [--megabytes 500]

Both speak to one sshd on this machine, and both times have the connecting and the leaving in them. Ours takes
parts of 8 MiB as jobs do, as many at once as the executor has streams.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from getpass import getuser
from pathlib import Path

from interleave import Timing, race, report, run

sys.path.insert(0, str(Path(__file__).parents[1]))

from executors.base import PART_BYTES, Span
from executors.ssh import SSHExecutor
from tests.executors.sshd import Server, sshd, why_not


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=500)
    arguments = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name, sshd(Path(name)) as server:
        source = write_source(Path(name) / "source", arguments.megabytes)
        (server.folder / "root").mkdir()
        (server.folder / "root/whole").hardlink_to(source)
        up = race(lambda: upload(server, source), lambda: scp_up(server, source), arguments.rounds)
        show(f"{arguments.megabytes} MB up, in parts, versus scp", up, 0.7)
        down = race(lambda: download(server), lambda: scp_down(server), arguments.rounds)
        show(f"{arguments.megabytes} MB down, in parts, versus scp", down, 0.9)


def show(claim: str, timing: Timing, goal: float) -> None:
    speed = statistics.median(theirs / ours for ours, theirs in zip(timing.ours, timing.theirs, strict=True))
    report(claim, timing, f"{speed:.2f} of scp's speed; the goal is {goal}")


def write_source(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def spans(size: int) -> list[Span]:
    return [Span(offset, min(PART_BYTES, size - offset)) for offset in range(0, size, PART_BYTES)]


def upload(server: Server, source: Path) -> None:
    with SSHExecutor("box", server.options()) as executor:
        upload_parts(executor, source)


def upload_parts(executor: SSHExecutor, source: Path) -> None:
    def send(part: tuple[int, Span]) -> None:
        executor.put(source, part[1], f"parts/{part[0]}")

    with ThreadPoolExecutor(executor.streams) as streams:
        list(streams.map(send, enumerate(spans(source.stat().st_size))))


def download(server: Server) -> None:
    size = (server.folder / "root/whole").stat().st_size
    with SSHExecutor("box", server.options()) as executor, ThreadPoolExecutor(executor.streams) as streams:
        file = os.open(server.folder / "down", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

        def bring(span: Span) -> None:
            os.pwrite(file, executor.get("whole", span), span.offset)

        list(streams.map(bring, spans(size)))
        os.close(file)


def scp(server: Server) -> list[object]:
    known = f"UserKnownHostsFile={server.known_hosts}"
    return ["scp", "-q", "-F", server.ssh_config, "-i", server.user_key, "-o", known, "-P", server.port]


def scp_up(server: Server, source: Path) -> None:
    run(*scp(server), source, f"{getuser()}@{server.address}:{server.folder / 'root/up'}")


def scp_down(server: Server) -> None:
    run(*scp(server), f"{getuser()}@{server.address}:{server.folder / 'root/whole'}", server.folder / "down")


if __name__ == "__main__":
    main()
