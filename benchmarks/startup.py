"""Claim: `--help` answers in under 0.3 s.

    python benchmarks/startup.py [--rounds 15]

Set against `pip --help`, a command people do not find slow.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from interleave import race, report, run

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    pip = lambda: run(sys.executable, "-m", "pip", "--help")  # noqa: E731
    for module in ("services.stabilize", "offload"):
        timing = race(lambda name=module: run(sys.executable, "-m", name, "--help", cwd=ROOT), pip, rounds)
        report(
            f"python -m {module} --help versus pip --help", timing, f"answers in {statistics.median(timing.ours):.3f} s"
        )


if __name__ == "__main__":
    main()
