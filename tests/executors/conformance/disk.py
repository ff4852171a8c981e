"""A full disk: told as such, nothing left under a final name, and a last word all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executors.base import NoSpace, NoSuchFile
from tests.executors.conformance.suite import Suite
from tests.executors.target import Target

FILL = """
import os, sys
with open("filler", "ab", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        print(file.tell())
"""


class FullDisk(Suite):
    """`put`, `assemble`, `start` and a running job where the disk takes no more."""

    def test_full_disk_in_a_put(self, tmp_path: Path) -> None:
        with self.small_disk() as executor:
            target = Target(executor, tmp_path)
            target.put(b"older", "files/old")
            with pytest.raises(NoSpace):
                target.put(os.urandom(6 * 2**20), "files/new")
            with pytest.raises(NoSpace):
                target.put(os.urandom(6 * 2**20), "files/old")
            with pytest.raises(NoSuchFile):
                target.get("files/new")
            assert target.get("files/old") == b"older"
            assert target.eval("os.listdir('files')") == ["old"]

    def test_full_disk_while_parts_are_joined(self, tmp_path: Path) -> None:
        with self.small_disk() as executor:
            target, data = Target(executor, tmp_path), os.urandom(5 * 2**19)
            sha256 = target.send_parts(data, len(data), [0])
            assert target.refusal("assemble", sha256=sha256, size=len(data), parts=1)[0] == "no_space"
            assert target.eval("os.listdir('blobs')") == []
            assert target.call("parts", sha256=[sha256])["blobs"][sha256]["parts"] == [[0, len(data)]]

    def test_full_disk_at_the_start_of_a_job(self, tmp_path: Path) -> None:
        with self.small_disk() as executor:
            target = Target(executor, tmp_path)
            target.call("ls")
            target.python(FILL)
            request = target.request(["listing"])
            assert target.refusal("start", **request)[0] == "no_space"
            target.eval("os.truncate('filler', 0)")
            assert target.eval("os.listdir('jobs')") == []
            assert target.follow(target.start(["listing"]))[1]["ending"]["exit"] == 0

    def test_full_disk_in_a_running_job(self, tmp_path: Path) -> None:
        with self.small_disk() as executor:
            target = Target(executor, tmp_path)
            _, last = target.finish(["event", {"type": "log"}], ["write", "out/0/large", 8 * 2**20])
            assert last["ending"]["error"]["kind"] == "no_space"
            assert (last["state"], last["ending"]["exit"]) == ("ended", 1)

    def test_full_disk_does_not_keep_a_job_from_being_cancelled(self, tmp_path: Path) -> None:
        with self.small_disk() as executor:
            target = Target(executor, tmp_path)
            job = target.start(["pid"], ["sleep", 600])
            pids = target.pids(job, 1)
            target.python(FILL)
            assert target.call("cancel", job=job, grace=0)["state"] == "ended"
            assert target.alive(pids) == []
            assert target.follow(job)[1]["ending"]["cancelled"] is True
