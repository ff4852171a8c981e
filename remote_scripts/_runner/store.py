"""Content of models on this machine, by sha256: fetched or sent once, for all jobs.

models/<sha256>         a file of a model, complete and checked
models/<sha256>.part    one on its way; whoever brings it holds a lock on it
models/.home/           where libraries think their own caches are
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional

from _runner import layout

CHUNK = 1024 * 1024


class Part:
    """A file on its way, which nobody else can bring meanwhile. What was there already counts.

    A context: a part with nothing in it is not left behind.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._digest = hashlib.sha256()
        self.size = 0
        """Bytes that are there."""
        for chunk in _chunks(file):
            self._count(chunk)

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: Any) -> None:
        if not self.size:
            self._path.unlink(missing_ok=True)
        self._file.close()

    @property
    def sha256(self) -> str:
        """Of what is there."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Add to what is there."""
        self._file.write(chunk)
        self._count(chunk)

    def clear(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()
        self._digest, self.size = hashlib.sha256(), 0

    def finish(self) -> None:
        """Give the file its name. Its sha256 must be that name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.fchmod(self._file.fileno(), 0o400)
        self._path.replace(self._path.with_name(self.sha256))

    def _count(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.size += len(chunk)


def claim(root: Path, sha256: str) -> Optional[Part]:
    """Take a file that is to be brought for ourselves; None while somebody else has it."""
    path = _part(root, sha256)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.fdopen(os.open(str(path), os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    if _lock(file, path):
        return Part(file, path)
    file.close()
    return None


def _lock(file: BinaryIO, path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False  # somebody else has it, or gave it its name the moment before


def _part(root: Path, sha256: str) -> Path:
    path = layout.content_path(root, sha256)
    return path.with_name(path.name + ".part")


def arrived(root: Path, sha256: str) -> int:
    """Bytes of a file on its way that are here already."""
    try:
        return _part(root, sha256).stat().st_size
    except FileNotFoundError:
        return 0


def sha256_of(path: Path) -> str:
    """Hash a file, as hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def adopt(root: Path, blob: Path) -> Path:
    """Make a model's content of a blob, whose name it is; blobs come and go. Returns the content's file."""
    path = layout.content_path(root, blob.name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name("%s.%s.tmp" % (path.name, layout.token()))
    layout.link(blob, draft)
    draft.chmod(0o400)
    draft.replace(path)
    return path


def link(path: Path, place: Path) -> None:
    """Make a model's content appear at `place`."""
    # A hard link outlives its content's removal here; a copy would cost gigabytes.
    try:
        os.link(str(path), str(place))
    except FileNotFoundError:  # somebody has just removed it
        raise
    except OSError:  # a file system without links
        place.symlink_to(path)


def models(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Say of each sha256 of a model's files whether it is here, and need not be fetched or sent."""
    return {"here": {sha256: _is_here(root, sha256) for sha256 in request["sha256"]}}


def _is_here(root: Path, sha256: str) -> bool:
    return layout.content_path(root, sha256).exists() or layout.blob_path(root, sha256).exists()


def forget(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Delete files of models. Jobs that have them keep them; so does one that is fetching them."""
    freed = [_forget(root, sha256) for sha256 in request["sha256"]]
    return {"count": sum(1 for size in freed if size), "bytes": sum(freed)}


def _forget(root: Path, sha256: str) -> int:
    found = [layout.content_path(root, sha256), layout.blob_path(root, sha256)]
    sizes = [_remove(path) for path in found]
    part = claim(root, sha256)
    if part:
        with part:
            sizes.append(part.size)
            part.clear()
    return max(sizes)  # the content is a link to the blob, where there are both


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def sweep(root: Path, cutoff: float) -> Iterator[str]:
    """Delete files on their way that nobody has brought on since `cutoff`; yields their names.

    Content that is complete stays: it cost gigabytes to bring, and only a person can tell that it is no longer wanted.
    """
    for path in _leftovers(root / "models"):
        if _newest(path) < cutoff and _drop(path):
            yield path.name


def _leftovers(folder: Path) -> List[Path]:
    return [path for path in folder.iterdir() if path.suffix in (".part", ".tmp")] if folder.is_dir() else []


def _newest(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _drop(path: Path) -> bool:
    with path.open("r+b") as file:
        if not _lock(file, path):
            return False
        path.unlink()
        return True
