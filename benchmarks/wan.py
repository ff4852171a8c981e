"""Claim: over a wide-area link our SSH executor is at least 2.5 times as fast as scp, and our Jupyter executor as a
bare loop of requests, up and down.

    python benchmarks/wan.py ssh|jupyter --near NAMESPACE --far NAMESPACE --address ADDRESS [--rounds 3] [--megabytes N]

The link stands between two network namespaces, and ADDRESS is the far one's; README.md says what it must be like.
The server runs in the far one, the rest in the near one. With SSH both times have connecting and leaving in them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupyter
from interleave import race
from ssh import download, scp_down, scp_up, show, upload, write_source

from tests.executors.sshd import Server, running, why_not

GOAL = 2.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("over", choices=("ssh", "jupyter"))
    for name in ("near", "far", "address"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--there", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.there:
        os.execvp("ip", [*inside(arguments.near), sys.executable, *sys.argv, "--there"])
    with tempfile.TemporaryDirectory() as name:
        far = {"wrapper": inside(arguments.far), "address": arguments.address}
        does = {"ssh": over_ssh, "jupyter": over_jupyter}[arguments.over]
        does(Path(name), far, arguments.rounds, arguments.megabytes)


def over_ssh(folder: Path, far: dict[str, Any], rounds: int, megabytes: int) -> None:
    if reason := why_not():
        sys.exit(reason)
    with running(Server(folder / "sshd", **far)) as server:
        compare(server, rounds, megabytes)


def over_jupyter(folder: Path, far: dict[str, Any], rounds: int, megabytes: int) -> None:
    from tests.executors import jupyter_server

    source = write_source(folder / "source", megabytes)
    with jupyter_server.running(jupyter_server.Server(folder / "jupyter", **far)) as server:
        jupyter.compare(server, source, rounds, GOAL)


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
