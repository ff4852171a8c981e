"""Claim: a batch of 12 inputs shared among three equal targets is done in half of the time of one target, or less.

    python benchmarks/spread.py [--rounds 3] [--seconds 1]

The work is waiting, so that three targets on one machine are three machines.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from interleave import environment, race, report, run

ROOT = Path(__file__).parents[1]
INPUTS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configure(folder)
        clips = [folder / f"{number}.dat" for number in range(INPUTS)]
        for number, clip in enumerate(clips):
            clip.write_bytes(f"clip {number}".encode())
        timing = race(
            lambda: work(clips, args.seconds, "--spread"),
            lambda: work(clips, args.seconds, "--on", "local"),
            args.rounds,
        )
        report(f"{INPUTS} inputs of {args.seconds:g} s each on three targets, versus on one", timing, "")


def configure(folder: Path) -> None:
    place = Path(environment()["OFFLOAD_CONFIG_DIR"])
    place.mkdir(parents=True, exist_ok=True)
    tables = (f'[{name}]\nurl = "local://{folder}/{name}"\nshare = "no"\n' for name in ("one", "two"))
    (place / "targets.toml").write_text("".join(tables))


def work(clips: list[Path], seconds: float, *words: str) -> None:
    fake, out = ROOT / "tests/fakework/fake.py", f"{clips[0].parent}/out/"
    run(sys.executable, fake, *clips, "-o", out, "--seconds", seconds, "--overwrite", *words, cwd=ROOT)


if __name__ == "__main__":
    main()
