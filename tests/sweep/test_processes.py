"""Fail the Nth operation of the target's processes, each as the process it is: the runner's verbs, supervisor, script.

It ends before or after, and asked again it ends well.
"""

from __future__ import annotations

import errno
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pytest

import executors
from broker import staging
from broker.errors import OffloadError
from executors.base import ExecutorError
from tests.sweep.processes import CASES, OPERATIONS, Round, Seam

ERRORS = (errno.EIO, errno.ENOSPC)
GRACE = 60.0
STRIDE = 5


@dataclass
class Summary:
    """What became of the jobs whose seams were met."""

    neither: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        ends = f"{dict(self.ends)}, neither {len(self.neither)}"
        return f"{self.roles.total()} met, {dict(self.roles)}, {dict(self.kinds)}; {ends}"


@pytest.fixture(autouse=True)
def _hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(executors.KINDS, "hooked", "tests.sweep.processes:HookedExecutor")
    monkeypatch.setattr(staging, "PART_BYTES", 50)


def counted(folder: Path) -> list[Seam]:
    """All seams of the processes of jobs that nothing disturbs."""
    found: list[Seam] = []
    for case in CASES:
        undisturbed = Round(folder / case, case)
        undisturbed.type(Seam(case, "nobody"))
        assert list(undisturbed.half_way()) == []
        found += undisturbed.seams()
    return found


def one(folder: Path, seam: Seam, number: int, patience: float) -> tuple[str, str, list[str]]:
    """A job with a seam that fails, and the same request afterwards; returns what was met, and how it ended."""
    broken = Round(folder, seam.case, patience)
    ended = broken.type(seam, number)
    troubles = [f"first: {trouble}" for trouble in broken.half_way()]
    if not (ended is None or isinstance(ended, (OffloadError, ExecutorError))):
        troubles.append(f"a person would see a traceback: {ended!r}")
    end = ("after, with an error" if ended else "after") if broken.after else "before"
    again = broken.type() if end == "before" else None
    if again:
        troubles.append(f"again it ended with {again!r}")
    troubles += [f"again: {trouble}" for trouble in broken.unfinished()]
    name = f"{seam}, {errno.errorcode[number]} at {broken.met}, patience {patience}, it ended with {ended!r}"
    return broken.met, end, [f"{name}: {trouble}" for trouble in troubles]


def sweep(folder: Path, seams: list[tuple[Seam, int]], at_a_time: int) -> Summary:
    """Break seams, one in each job; every other one with nobody who tries again."""

    def play(nth: int) -> tuple[str, str, list[str]]:
        seam, number = seams[nth]
        return one(folder / str(nth), seam, number, GRACE * (nth // 2 % 2))

    summary = Summary()
    with ThreadPoolExecutor(at_a_time) as pool:
        for (seam, _), (met, end, troubles) in zip(seams, pool.map(play, range(len(seams))), strict=True):
            summary.neither += troubles
            if met:
                summary.roles[seam.role] += 1
                summary.kinds[met.split()[0]] += 1
                summary.ends[end] += 1
    return summary


def check(folder: Path, seams: list[tuple[Seam, int]], of: int, at_a_time: int) -> Summary:
    """Sweep, and tell."""
    summary = sweep(folder / "rounds", seams, at_a_time)
    print(f"\nsweep over processes: {len(seams)} tries of {of} seams, {summary}")
    assert not summary.neither, "\n".join(summary.neither)
    # How often a job is asked for events, and what is there by then, is never quite the same.
    assert summary.roles.total() >= 0.9 * len(seams)
    return summary


def test_it_ends_before_or_after_whatever_fails_in_a_process(shm: Path) -> None:
    seams = counted(shm)
    first = list({(seam.role, seam.kind): seam for seam in reversed(seams)}.values())
    check(shm, list(zip(first[::STRIDE], cycle(ERRORS))), len(seams), at_a_time=1)


@pytest.mark.soak
def test_it_does_at_every_single_seam_of_a_process(shm: Path) -> None:
    seams = counted(shm)
    both = [(seam, number) for seam in seams for number in ERRORS]
    summary = check(shm, both, len(seams), at_a_time=3)
    assert set(summary.kinds) == {*OPERATIONS.values()}
