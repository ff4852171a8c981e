"""Results: outputs of items that are done, kept in the cache by content for whoever asks for the same again.

results/<sha256>             a file, read-only; never a hard link to one of the user's, which may be edited in place

Which result consists of which files stands in the journal. The folder may be deleted at any time, and nothing in it is
trusted: what is not as it was counts as never kept.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from broker.errors import IntegrityError, LimitError
from broker.job import Output
from broker.result_rows import Result, ResultRows
from broker.staging import file_sha256, make_durable

FICLONE = 0x40049409
"""Linux: make a file share another's blocks until either is written (ioctl_ficlone(2)). Elsewhere it is refused."""
COPY_BYTES = 2**20
SPARE_BYTES = 256 * 2**20
"""What is left free on the disk they are kept on."""
ROOMY = 0.9
"""How full it may be after room was made: so that this is not done for every single result."""
STRAY_SECONDS = 3600.0
"""How long a file that belongs to no result may lie there: somebody may be about to say to which it does."""


class Spoiled(IntegrityError):
    """A file that was kept is not what it was, or not there any more."""


class Freed(NamedTuple):
    """What tidying up has removed, or would: so many results, and the bytes of their files."""

    results: int
    bytes: int


class Results:
    """The results whose files lie in a folder: at most `most` bytes of them."""

    def __init__(self, folder: Path, rows: ResultRows, most: int) -> None:
        self.folder = folder
        self.rows = rows
        self.most = most
        self._total: int | None = None

    def keep(self, result: Result, sources: Mapping[str, Path]) -> None:
        """Keep a copy of files (name -> where it is). Raises LimitError without room, OSError, IntegrityError."""
        self._make_room(result.size)
        drafts = {name: self.folder / f".{secrets.token_hex(4)}.part" for name in result.files}
        try:
            for name, draft in drafts.items():
                _take(sources[name], draft, result.files[name][0])
            self._replace(result, drafts)
        finally:
            for draft in drafts.values():
                with suppress(OSError):  # a disk that refuses even this; it is swept another day
                    draft.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        if size > self.most:
            raise LimitError(f"it is larger than all that may be kept ({self.most} bytes)", "set OFFLOAD_RESULT_BYTES")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._total is None:  # a sum over very many rows: what others keep meanwhile is counted next time
            self._total = self.rows.bytes()
        self._total += size
        if self._total > self.most:
            self.sweep(int(self.most * ROOMY) - size)
            self._total = self.rows.bytes() + size
        if shutil.disk_usage(self.folder).free - size < SPARE_BYTES:
            raise LimitError(f"the disk that holds {self.folder} is all but full")

    def _replace(self, result: Result, drafts: Mapping[str, Path]) -> None:
        with self.rows.turn():
            before = self.rows.find(result.key)
            for name, draft in drafts.items():
                draft.replace(self.folder / result.files[name][1])
            self.rows.put(result)
            self._unlink(self._files([before] if before else []) - self.rows.named())

    def bring(self, output: Output, part: Path) -> None:
        """Copy what an output was to `part`, durable. Raises Spoiled, or OSError when it cannot be stored there."""
        place = self.folder / (output.sha256 or "")
        part.unlink(missing_ok=True)
        try:
            copy(place, part)
        except OSError as error:
            if not _holds(place, output):
                raise Spoiled(f"{place} cannot be read") from error
            raise
        if not _holds(part, output):
            raise Spoiled(f"{place} is damaged")
        make_durable(part)

    def drop(self, result: Result) -> None:
        """Be rid of a result, and of its files where no other needs them."""
        with self.rows.turn():
            self.rows.forget([result.key])
            self._unlink(self._files([result]) - self.rows.named())

    def sweep(self, most: int, pretend: bool = False) -> Freed:
        """Keep the results used last, as many as `most` bytes hold; forget the others, and those whose files are gone.

        With `pretend`, only say what would be.
        """
        with self.rows.turn():
            found = self.rows.all()
            here = self.here(found)
            kept = self._fitting(here, most)
            keys = {result.key for result in kept}
            gone = [result for result in found if result.key not in keys]
            freed = self._files(gone) - self._files(kept)
            sizes = {sha256: size for result in gone for size, sha256 in result.files.values()}
            told = Freed(len(here) - len(kept), sum(sizes[sha256] for sha256 in freed if self._is_here(sha256)))
            if not pretend:
                self.rows.forget(result.key for result in gone)
                self._unlink(freed)
                self._sweep_strays(self._files(kept))
            return told

    def _fitting(self, found: Iterable[Result], most: int) -> list[Result]:
        kept: list[Result] = []
        files, total = set[str](), 0
        for result in found:
            new = {sha256: size for size, sha256 in result.files.values() if sha256 not in files}
            total += sum(new.values())
            if total > most:
                break
            files |= {*new}
            kept.append(result)
        return kept

    def here(self, results: Iterable[Result]) -> list[Result]:
        """Those of the results whose files are here."""
        return [result for result in results if self.has(result)]

    def has(self, result: Result) -> bool:
        """Whether the files of a result are here; what is in them is looked at when somebody wants them."""
        return all(self._is_here(sha256) for _, sha256 in result.files.values())

    def _is_here(self, sha256: str) -> bool:
        return (self.folder / sha256).is_file()

    def _files(self, results: Iterable[Result]) -> set[str]:
        return {sha256 for result in results for _, sha256 in result.files.values()}

    def _unlink(self, files: Iterable[str]) -> None:
        for sha256 in files:
            with suppress(OSError):  # it is a stray then, and goes another day
                (self.folder / sha256).unlink(missing_ok=True)

    def _sweep_strays(self, named: set[str]) -> None:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            with suppress(OSError):  # another process was quicker
                if path.name not in named and time.time() - path.stat().st_ctime > STRAY_SECONDS:
                    path.unlink()


def _take(source: Path, draft: Path, size: int) -> None:
    copy(source, draft)
    draft.chmod(0o400)
    if draft.stat().st_size != size:  # its content is looked at when somebody wants it
        raise IntegrityError(f"{source} was changed already")


def copy(source: Path, target: Path) -> None:
    """Make a new file of the same content, no other name of the old one; at no cost where blocks can be shared."""
    with source.open("rb") as found, target.open("xb") as made:
        try:
            fcntl.ioctl(made.fileno(), FICLONE, found.fileno())
        except OSError:  # across file systems, and on most of them
            shutil.copyfileobj(found, made, COPY_BYTES)


def _holds(path: Path, output: Output) -> bool:
    with suppress(OSError):  # what cannot be read is as good as damaged
        return path.stat().st_size == output.size and file_sha256(path) == output.sha256
    return False
