"""Whether what a result takes of memory is there, before the hours of work."""

from __future__ import annotations

from _job import LimitExceeded
from _segments import free_memory


def check_memory(needed: float, size: tuple[int, int]) -> None:
    """Raise LimitExceeded when less than `needed` bytes are free for a result of `size` (width, height)."""
    free = free_memory()
    if needed > free:
        raise LimitExceeded(
            f"a result of {size[0]}x{size[1]} takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are"
            " free where the job runs; ask for less, with --scale or --height"
        )
