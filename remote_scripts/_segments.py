"""Long work on one item, cut into segments: several at once, each finished one a checkpoint.

Segments are cut by content alone, never by how many cores there are, so that their pieces are the same on every
machine, and the next attempt, wherever it runs, finds those of the last one.

    segments = [Segment(0, "enc-0000"), Segment(1, "enc-0001")]
    pieces = work_through(job, item, segments, do, workers=2, progress=meter)

`do(segment, folder)` is a generator: it makes the piece of one segment in an empty folder of its own, yields the share
(0-1) that is done, and returns the path of the piece. It runs in a thread; what is heavy in it should be a process, or
let go of the interpreter. It yields often: only there is it stopped, when another segment has failed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import _cgroup
from _job import Item, Job

SHARE = 0.7
"""Of the memory that is free, what workers may fill: a laptop is to stay usable."""


@dataclass(frozen=True)
class Segment:
    """A stretch of the work. `name` is its checkpoint's: unique in the item, and another for other content."""

    number: int
    name: str


Do = Callable[[Segment, Path], Generator[float, None, Path]]
"""Makes the piece of a segment in a folder; yields the share that is done, returns the piece."""

Owns = Callable[[Segment, Path], bool]
"""Whether a piece that was found is what would be made of a segment here."""


def hands(bytes_each: float) -> int:
    """How many may work at once: as many as there are cores, and as free memory holds; one at least."""
    return max(1, min(cores(), int(SHARE * free_memory() / bytes_each)))


def cores() -> int:
    """How many cores this process may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(there, _cgroup.cores())))


def free_memory(told: Path = Path("/proc/meminfo")) -> float:
    """Bytes that programs may still take; where the system does not tell, half of what there is."""
    return min(_available(told), _cgroup.free_memory())


def _available(told: Path) -> float:
    with suppress(OSError, ValueError):
        for line in told.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024.0
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def usable(job: Job, item: Item, segments: Sequence[Segment], owns: Owns) -> Item:
    """The item with those pieces of earlier attempts alone that `owns` says are what would be made here.

    What another encoder made, or a machine that is broken, is made again.
    """
    there = [one for one in segments if one.name in item.checkpoints]
    fit = {one.name: item.checkpoints[one.name] for one in there if owns(one, item.checkpoints[one.name])}
    if len(fit) < len(there):
        job.log(item, f"pieces of an earlier attempt that do not fit, and are made again: {len(there) - len(fit)}")
    return replace(item, checkpoints=fit)


def work_through(
    job: Job,
    item: Item,
    segments: Sequence[Segment],
    do: Do,
    workers: int,
    progress: Callable[[int, float], None],
) -> list[Path]:
    """Have the piece of every segment made that is no checkpoint yet; returns all pieces, in order, to be read only.

    `progress` is told a segment's number and the share of it that is done, by one thread at a time.
    Raises what the first `do` to fail raised, once the others have stopped; finished pieces stay checkpoints.
    """
    crew = _Crew(job, item, do, progress)
    found = {one.name: item.checkpoints[one.name] for one in segments if one.name in item.checkpoints}
    for segment in segments:
        if segment.name in found:
            progress(segment.number, 1.0)
    with _workplace(item), ThreadPoolExecutor(max(1, workers)) as pool:
        made = {one.name: pool.submit(crew.make, one) for one in segments if one.name not in found}
        try:
            wait(made.values(), return_when=FIRST_EXCEPTION)
        finally:
            crew.stop()
            pool.shutdown(wait=True, cancel_futures=True)
    if crew.failure:
        raise crew.failure
    found |= {name: future.result() for name, future in made.items()}
    return [found[one.name] for one in segments]


class _Stopped(Exception):
    """Another segment has failed."""


class _Crew:
    """What the workers share. Events are written by one of them at a time."""

    def __init__(self, job: Job, item: Item, do: Do, progress: Callable[[int, float], None]) -> None:
        self.failure: BaseException | None = None
        self._stopped = False
        self._job, self._item, self._do, self._progress = job, item, do, progress
        self._voice = Lock()

    def stop(self, failure: BaseException | None = None) -> None:
        """Have everybody stop who is at work; the first failure is kept."""
        with self._voice:
            self.failure = self.failure or failure
            self._stopped = True

    def make(self, segment: Segment) -> Path:
        """Make a segment's piece, and save it; what fails stops the others too."""
        try:
            return self._make(segment)
        except _Stopped:
            raise
        except BaseException as failure:
            self.stop(failure)
            raise

    def _make(self, segment: Segment) -> Path:
        folder = _place(self._item) / segment.name
        folder.mkdir()
        try:
            self._check()
            piece = self._see_through(segment, folder)
            with self._voice:
                self._progress(segment.number, 1.0)
                return self._job.checkpoint(self._item, segment.name, piece)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check(self) -> None:
        if self._stopped:
            raise _Stopped

    def _see_through(self, segment: Segment, folder: Path) -> Path:
        work = self._do(segment, folder)
        try:
            while True:
                share = next(work)
                self._check()
                with self._voice:
                    self._progress(segment.number, share)
        except StopIteration as end:
            return Path(end.value)
        finally:
            work.close()


@contextmanager
def _workplace(item: Item) -> Iterator[None]:
    folder = _place(item)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another item's folder is still in there
            folder.parent.rmdir()


def _place(item: Item) -> Path:
    return Path("work").absolute() / f"{item.index}-segments"
