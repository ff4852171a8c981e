"""Claim: the same request again is answered in under 0.2 s, bit for bit, from the start of Python on.

    python benchmarks/cached.py [--rounds 15]

The sample clip is stabilised once; then the same is asked for again and again, each time for another destination. The
floor is `--help` of the same command: what starting it takes before there is anything to do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from itertools import count
from pathlib import Path

from interleave import race, report, run

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "services.stabilize")
AIM = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder, numbers = Path(name), count()
        first = again(folder, next(numbers))
        timing = race(lambda: again(folder, next(numbers)), lambda: run(*COMMAND, "--help", cwd=ROOT), rounds)
        outputs = list(folder.glob("*.mp4"))
        assert all(output.read_bytes() == first.read_bytes() for output in outputs)
    median = statistics.median(timing.ours)
    verdict = f"answers in {median:.3f} s (aim {AIM}), {timing.difference:.3f} s more than --help; "
    report("the same request again versus --help", timing, f"{verdict}{len(outputs)} outputs, all the same bytes")


def again(folder: Path, number: int) -> Path:
    out = folder / f"{number}.mp4"
    run(*COMMAND, ROOT / "examples/handheld.mp4", "-o", out, "-q", cwd=ROOT)
    return out


if __name__ == "__main__":
    main()
