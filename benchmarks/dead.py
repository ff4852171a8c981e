"""Claim: a dead target costs a command <= 2 s the first time, and <= 10 ms while it is known to be dead.

    python benchmarks/dead.py [--rounds 15]

Two dead targets: a port that refuses, and one that answers nothing at all. Each command is set against the same with
`--on local`; both begin without a memory the first time, and with one afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from interleave import environment, race, report, run

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.executors.test_ssh_breaks import black_hole, dead_port

ROOT = Path(__file__).parents[1]
DEAD = {"that refuses": dead_port, "that does not answer": black_hole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "clip.dat"
        clip.write_bytes(b"work")
        for kind, place in DEAD.items():
            with place() as port:
                configure(port)
                compare(kind, clip, rounds)


def configure(port: int) -> None:
    folder = Path(environment()["OFFLOAD_CONFIG_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "targets.toml").write_text(f'[box]\nurl = "ssh://127.0.0.1:{port}"\n')


def compare(kind: str, clip: Path, rounds: int) -> None:
    first = race(lambda: forgotten(clip), lambda: forgotten(clip, "--on", "local"), max(3, rounds // 3))
    report(f"a target {kind}, the first time", first, f"costs {first.difference:.3f} s; the goal is <= 2")
    later = race(lambda: work(clip), lambda: work(clip, "--on", "local"), rounds)
    report(f"a target {kind}, known to be dead", later, f"costs {later.difference * 1000:.1f} ms; the goal is <= 10")


def forgotten(clip: Path, *words: str) -> None:
    shutil.rmtree(environment()["OFFLOAD_STATE_DIR"], ignore_errors=True)
    work(clip, *words)


def work(clip: Path, *words: str) -> None:
    fake = ROOT / "tests/fakework/fake.py"
    run(sys.executable, fake, clip, "-o", clip.with_name("out.bin"), "--seconds", "0", "--overwrite", *words, cwd=ROOT)


if __name__ == "__main__":
    main()
