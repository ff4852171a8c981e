"""What this process may use by its control groups (Linux, version 2): a container's limits are nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MOUNTED, TOLD = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores(mounted: Path = MOUNTED, told: Path = TOLD) -> float:
    """How many cores at most; infinite where nothing is said."""
    return min((_quota(folder) for folder in _groups(mounted, told)), default=math.inf)


def free_memory(mounted: Path = MOUNTED, told: Path = TOLD) -> float:
    """How many bytes more; infinite where nothing is said."""
    return min((_room(folder) for folder in _groups(mounted, told)), default=math.inf)


def _groups(mounted: Path, told: Path) -> Iterator[Path]:
    """The folder of the group that we are in, and of each that it is in."""
    with suppress(OSError):
        for line in told.read_text("utf-8").splitlines():
            if line.startswith("0::/"):
                folder = mounted / line.removeprefix("0::/")
                yield folder
                yield from (mounted / part for part in folder.relative_to(mounted).parents)


def _quota(folder: Path) -> float:
    with suppress(OSError, ValueError):  # "max 100000" is no number
        quota, period = map(int, (folder / "cpu.max").read_text("ascii").split())
        return quota / period
    return math.inf


def _room(folder: Path) -> float:
    with suppress(OSError, ValueError):  # so is "max"
        limit, used = (int((folder / f"memory.{name}").read_text("ascii")) for name in ("max", "current"))
        return limit - used + _files_kept(folder)
    return math.inf


def _files_kept(folder: Path) -> int:
    """Bytes of files in memory that are given up before anything else is."""
    lines = (folder / "memory.stat").read_text("ascii").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
