"""Time two commands against each other: A B A B ..., whole processes, medians, and the ratio round by round.

A machine's speed drifts; a ratio of neighbours in one run does not.
"""

from __future__ import annotations

import atexit
import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Wall seconds of two contestants, round by round."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """Median over the rounds of ours / theirs."""
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def difference(self) -> float:
        """Median over the rounds of ours - theirs, in seconds."""
        return statistics.median(a - b for a, b in zip(self.ours, self.theirs, strict=True))


def race(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> Timing:
    """Run both in turn, after one round that does not count."""
    ours(), theirs()
    timing = Timing([], [])
    for number in range(rounds):
        # Who goes first changes, so that neither always meets the warmer cache.
        pair = [(ours, timing.ours), (theirs, timing.theirs)]
        for run, seconds in pair if number % 2 == 0 else pair[::-1]:
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    return timing


def run(*argv: object, cwd: Path | None = None) -> None:
    """Run a command; what it says is shown only if it fails. It sees no jobs or settings of the user's."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{argv} failed:\n{done.stderr}")


@cache
def environment() -> dict[str, str]:
    """The user's environment, but for the program's folders and for what keeps Python from caching its bytecode."""
    home = tempfile.TemporaryDirectory()
    atexit.register(home.cleanup)
    folders = {f"OFFLOAD_{name}_DIR": f"{home.name}/{name}" for name in ("CONFIG", "STATE", "CACHE")}
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | folders


def machine() -> str:
    """One line on where and when this ran."""
    model = next((line for line in _cpuinfo() if line.startswith("model name")), "").partition(": ")[2]
    today = datetime.date.today().isoformat()
    return (
        f"{today}, {os.cpu_count()} cores, {model.strip() or platform.processor()}, Python {platform.python_version()}"
    )


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            return file.read().splitlines()
    except OSError:
        return []


def report(claim: str, timing: Timing, verdict: str) -> None:
    """Print a benchmark's result: claim, medians, ratio, range and verdict."""
    print(machine())
    print(claim)
    print(f"  ours    {statistics.median(timing.ours):8.3f} s  ({min(timing.ours):.3f} - {max(timing.ours):.3f})")
    print(f"  theirs  {statistics.median(timing.theirs):8.3f} s  ({min(timing.theirs):.3f} - {max(timing.theirs):.3f})")
    print(f"  ratio   {timing.ratio:8.3f}    median of {len(timing.ours)} rounds, in turn")
    print(f"  {verdict}")
