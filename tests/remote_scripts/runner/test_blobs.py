"""Blobs, and what is cleared away."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from pathlib import Path

from _runner import blobs, jobs, layout


class TestBlobs:
    def test_one_assembles_while_others_wait(self, root: Path) -> None:
        empty = hashlib.sha256(b"").hexdigest()
        request = {"sha256": empty, "size": 0, "parts": 0}
        with (root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            other = threading.Thread(target=blobs.assemble, args=(root, request))
            other.start()
            other.join(0.2)
            assert not layout.blob_path(root, empty).exists()
        other.join()
        assert layout.blob_path(root, empty).exists()


class TestGc:
    def test_leftovers_of_killed_runners_go_too(self, root: Path) -> None:
        for name in ("jobs/.new-abcd-1/in", "jobs/.old-abcd-2/out", "parts/" + "a" * 64, "blobs"):
            (root / name).mkdir(parents=True)
        draft = root / "blobs" / ("b" * 64 + ".tmp")
        draft.touch()
        for path in root.rglob("*"):
            os.utime(path, (0, 0))
        assert blobs.gc(root, {"days": 7, "bytes": 0})["count"] == 4
        assert [list((root / name).iterdir()) for name in ("jobs", "parts", "blobs")] == [[], [], []]

    def test_the_reply_of_a_great_clearing_is_short(self, root: Path) -> None:
        (root / "blobs").mkdir()
        for number in range(1000):
            (root / "blobs" / f"{number:064d}").touch()
        reply = blobs.gc(root, {"days": -1, "bytes": 0})
        assert reply["count"] == 1000
        assert len(json.dumps(reply)) < 64 * 1024

    def test_the_list_of_a_great_many_jobs_is_short(self, root: Path) -> None:
        for number in range(600):
            (root / "jobs" / f"{number:064d}").mkdir(parents=True)
        reply = jobs.ls(root, {})
        assert len(reply["jobs"]) + reply["more"] == 600
        assert len(json.dumps(reply)) < 64 * 1024
