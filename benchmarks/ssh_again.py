"""Claim: a file that is on the target already is not sent again: no byte of its content.

    python benchmarks/ssh_again.py [--megabytes 50]

Counts what goes through the wire to a real sshd for a job on a file and for the next one on the same file, and set
against that, the next one on a file of one byte: that is what jobs say to each other besides.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from interleave import environment, machine, run

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.executors.sshd import Server, sshd, why_not
from tests.ssh.jobs import through
from tests.ssh.wire import Wire, wire

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=50)
    size = parser.parse_args().megabytes * 1_000_000
    if reason := why_not():
        sys.exit(reason)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as name, sshd(Path(name), PATH=path) as server, wire(server.port) as counter:
        configure(server, counter)
        large, small = write(Path(name) / "large.dat", size), write(Path(name) / "small.dat", 1)
        first, again, _, talk = (sent(counter, clip) for clip in (large, large, small, small))
    print(machine())
    print(f"bytes sent for a job on {size} bytes, then for another on the same, and what a job takes by itself")
    print(f"  first   {first:12d}\n  again   {again:12d}\n  talk    {talk:12d}")
    print(f"  of the content {100 * max(0, again - talk) / size:.3f} % was sent again; the goal is 0")


def configure(server: Server, counter: Wire) -> None:
    folder = Path(environment()["OFFLOAD_CONFIG_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    options = server.options(url=through(server, counter.port))
    (folder / "targets.toml").write_text("\n".join(["[box]", *(f"{k} = {json.dumps(v)}" for k, v in options.items())]))


def write(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def sent(counter: Wire, clip: Path) -> int:
    before = counter.up
    fake = ROOT / "tests/fakework/fake.py"
    words = ["--seconds", "0", "--overwrite", "--on", "box", "--no-fallback"]
    run(sys.executable, fake, clip, "-o", clip.with_suffix(".bin"), *words, cwd=ROOT)
    return counter.up - before


if __name__ == "__main__":
    main()
