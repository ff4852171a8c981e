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

from _runner import layout, processes, state
from _runner.layout import RunnerError

CHUNK = 1024 * 1024
LISTED, NAMED = 2000, 400
"""Most parts that `parts` tells of, and names that `gc` does: a reply is at most 64 KB."""


def parts(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Say of each sha256 whether its blob is here, and which parts are: [[number, size], ...].

    At most LISTED parts in all, so that the reply stays short: one that is not told of is merely sent again.
    """
    room, known = LISTED, {}
    for sha256 in request["sha256"]:
        known[sha256] = _known(root, sha256, room)
        room -= len(known[sha256]["parts"])
    return {"blobs": known}


def _known(root: Path, sha256: str, most: int) -> Dict[str, Any]:
    try:
        os.utime(str(layout.blob_path(root, sha256)))  # asked for: young again to gc
    except FileNotFoundError:
        return {"here": False, "parts": _arrived(layout.parts_dir(root, sha256))[:most]}
    return {"here": True, "parts": []}


def _arrived(folder: Path) -> List[List[int]]:
    try:
        found = [entry for entry in folder.iterdir() if entry.name.isdigit()]
        return sorted([int(entry.name), entry.stat().st_size] for entry in found)
    except FileNotFoundError:  # none yet, or somebody else has just joined them
        return []


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
        draft.unlink(missing_ok=True)


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
    # Two jobs may bring the same blob at once, and gc must not sweep what is being joined.
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def gc(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Delete ended jobs, environments, parts and leftovers older than `days`; the oldest blobs beyond `bytes`."""
    from _runner import environment, store  # for this verb alone

    cutoff = time.time() - float(request["days"]) * 86400
    with _locked(root):
        stale = [entry for entry in _folders(root / "parts") if _newest(entry) < cutoff]
        stale += [entry for entry in _folders(root / "jobs") if _newest(entry) < cutoff and _is_over(entry)]
        for entry in stale:
            shutil.rmtree(str(entry), ignore_errors=True)
        deleted = [entry.name for entry in stale] + list(environment.sweep(root, cutoff))
        deleted += store.sweep(root, cutoff)
        deleted += _trim_blobs(root / "blobs", cutoff, int(request["bytes"]))
    return {"deleted": deleted[:NAMED], "count": len(deleted)}


def _is_over(job: Path) -> bool:
    if state.is_alive(job):
        return False
    if state.of(job) == "lost":
        processes.end(job.name, grace=0)
    return True


def _newest(folder: Path) -> float:
    try:
        return max(entry.lstat().st_mtime for entry in [folder, *folder.iterdir()])
    except FileNotFoundError:  # somebody is changing it this moment
        return time.time()


def _folders(folder: Path) -> List[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []


def _trim_blobs(folder: Path, cutoff: float, limit: int) -> List[str]:
    known = [(entry.stat(), entry) for entry in folder.iterdir()] if folder.is_dir() else []
    known.sort(key=lambda pair: pair[0].st_mtime, reverse=True)
    kept, freed = 0, []
    for found, entry in known:
        kept += found.st_size
        if found.st_mtime < cutoff or kept > limit:
            freed.append(entry.name)
            entry.unlink()
    return freed
