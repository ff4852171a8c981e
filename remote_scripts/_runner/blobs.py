"""Uploads: parts arrive in any order, are joined into a blob once they are all here, and age away."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from _runner import layout
from _runner.layout import RunnerError

CHUNK = 1024 * 1024


def parts(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Say of each sha256 whether its blob is here, and which parts are: [[number, size], ...]."""
    return {"blobs": {sha256: _known(root, sha256) for sha256 in request["sha256"]}}


def _known(root: Path, sha256: str) -> Dict[str, Any]:
    blob = layout.blob_path(root, sha256)
    if blob.exists():
        os.utime(blob)  # asked for: young again to gc
        return {"here": True, "parts": []}
    folder = layout.parts_dir(root, sha256)
    found = [entry for entry in folder.iterdir() if entry.name.isdigit()] if folder.is_dir() else []
    return {"here": False, "parts": sorted([int(entry.name), entry.stat().st_size] for entry in found)}


def assemble(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Join parts 0..parts-1 into the blob. A wrong size or hash deletes them, so that they are sent anew."""
    sha256, folder = request["sha256"], layout.parts_dir(root, request["sha256"])
    blob = layout.blob_path(root, sha256)
    with _locked(root):
        if not blob.exists():
            _join(folder, int(request["parts"]), int(request["size"]), blob)
        shutil.rmtree(str(folder), ignore_errors=True)
    return {"blob": sha256}


def _join(folder: Path, count: int, size: int, blob: Path) -> None:
    missing = [number for number in range(count) if not (folder / str(number)).exists()]
    if missing:
        raise RunnerError("integrity", "parts missing: %s" % missing[:20])
    blob.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = blob.with_name(blob.name + ".tmp")
    try:
        if _write_joined([folder / str(number) for number in range(count)], draft) != (size, blob.name):
            shutil.rmtree(str(folder), ignore_errors=True)
            raise RunnerError("integrity", "the upload arrived damaged: its size or sha256 is not what was sent")
        draft.chmod(0o400)
        draft.replace(blob)
    finally:
        if draft.exists():
            draft.unlink()


def _write_joined(sources: List[Path], draft: Path) -> Tuple[int, str]:
    digest = hashlib.sha256()
    with draft.open("wb") as out:
        for source in sources:
            for chunk in _chunks(source):
                digest.update(chunk)
                out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
        return out.tell(), digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    # Two jobs may bring the same blob at once, and gc must not sweep between joining and linking.
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def gc(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Delete ended jobs, parts and leftovers older than `days`, then the oldest blobs beyond `bytes`."""
    from _runner.jobs import is_alive

    cutoff = time.time() - float(request["days"]) * 86400
    stale = [e for e in _entries(root / "parts") + _entries(root / "jobs") if _age_mark(e) < cutoff]
    with _locked(root):
        doomed = [entry for entry in stale if entry.parent.name != "jobs" or not is_alive(entry)]
        for entry in doomed:
            shutil.rmtree(str(entry), ignore_errors=True)
        freed = _trim_blobs(root / "blobs", cutoff, int(request["bytes"]))
    return {"deleted": [entry.name for entry in doomed] + freed}


def _age_mark(entry: Path) -> float:
    return max([entry.stat().st_mtime] + [child.stat().st_mtime for child in entry.iterdir() if child.exists()])


def _entries(folder: Path) -> List[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []


def _trim_blobs(folder: Path, cutoff: float, limit: int) -> List[str]:
    if not folder.is_dir():
        return []
    known = sorted(((e.stat().st_mtime, e) for e in folder.iterdir()), key=lambda pair: pair[0], reverse=True)
    kept, freed = 0, []
    for mtime, entry in known:
        kept += entry.stat().st_size
        if mtime < cutoff or kept > limit:
            freed.append(entry.name)
            entry.unlink()
    return freed
