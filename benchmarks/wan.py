"""Claim: over a wide-area link our SSH executor is at least 2.5 times as fast as scp, up and down.

    python benchmarks/wan.py --near NAMESPACE --far NAMESPACE --address ADDRESS [--rounds 3] [--megabytes 48]

The link stands between two network namespaces, and ADDRESS is the far one's; README.md says what it must be like.
sshd runs in the far one, scp and ours in the near one. Both times have the connecting and the leaving in them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from interleave import race
from ssh import download, scp_down, scp_up, show, upload, write_source

from tests.executors.sshd import Server, running, why_not

GOAL = 2.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("near", "far", "address"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--there", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    if not arguments.there:
        os.execvp("ip", [*inside(arguments.near), sys.executable, *sys.argv, "--there"])
    with tempfile.TemporaryDirectory() as name:
        far = Server(Path(name) / "sshd", wrapper=inside(arguments.far), address=arguments.address)
        with running(far) as server:
            compare(server, arguments.rounds, arguments.megabytes)


def inside(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


def compare(server: Server, rounds: int, megabytes: int) -> None:
    source = write_source(server.folder / "source", megabytes)
    (server.folder / "root").mkdir()
    (server.folder / "root/whole").hardlink_to(source)
    up = race(lambda: upload(server, source), lambda: scp_up(server, source), rounds)
    show(f"{megabytes} MB up over the wide-area link, versus scp", up, GOAL)
    down = race(lambda: download(server), lambda: scp_down(server), rounds)
    show(f"{megabytes} MB down over the wide-area link, versus scp", down, GOAL)


if __name__ == "__main__":
    main()
