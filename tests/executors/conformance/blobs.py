"""Blobs: parts are joined when they are all there and right, and not otherwise."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from executors.base import NoSuchFile
from tests.executors.conformance.suite import Suite
from tests.executors.target import Target

SIZE = 1000
HOSTILE_HASHES = ["", "..", "../../jobs", "a" * 63, "a" * 65, "A" * 64, "a" * 63 + "/", "a" * 64 + "\n", None, 7, ["a"]]


def flipped(data: bytes, bit: int) -> bytes:
    """Return the data with one bit changed."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


class Blobs(Suite):
    """`parts`, `assemble` and `gc`."""

    def test_parts_sent_in_any_order_become_a_blob(self, target: Target) -> None:
        data = os.urandom(4 * SIZE + 1)
        sha256 = target.send_parts(data, SIZE, [4, 1, 0, 3, 1, 2])
        target.call("assemble", sha256=sha256, size=len(data), parts=5)
        assert target.get(f"blobs/{sha256}") == data

    def test_an_empty_blob(self, target: Target) -> None:
        sha256 = hashlib.sha256(b"").hexdigest()
        target.call("assemble", sha256=sha256, size=0, parts=0)
        assert target.get(f"blobs/{sha256}") == b""

    def test_a_blob_can_only_be_read_and_only_by_its_owner(self, target: Target) -> None:
        sha256 = target.send(os.urandom(SIZE))
        modes = "[oct(stat.S_IMODE(os.stat(path).st_mode)) for path in sys.argv[1:]]"
        assert target.eval(modes, f"blobs/{sha256}", "blobs") == ["0o400", "0o700"]

    def test_it_is_told_which_parts_are_there(self, target: Target) -> None:
        data, here = os.urandom(3 * SIZE - 1), target.send(os.urandom(SIZE))
        sha256, absent = target.send_parts(data, SIZE, [2, 0]), "0" * 64
        assert target.call("parts", sha256=[sha256, here, absent])["blobs"] == {
            sha256: {"here": False, "parts": [[0, SIZE], [2, SIZE - 1]]},
            here: {"here": True, "parts": []},
            absent: {"here": False, "parts": []},
        }

    def test_a_missing_part_is_named_and_the_others_are_kept(self, target: Target) -> None:
        data = os.urandom(3 * SIZE)
        sha256 = target.send_parts(data, SIZE, [0, 2])
        kind, message = target.refusal("assemble", sha256=sha256, size=len(data), parts=3)
        assert (kind, message) == ("integrity", "parts missing: [1]")
        target.send_parts(data, SIZE, [1])
        target.call("assemble", sha256=sha256, size=len(data), parts=3)

    def test_a_flipped_bit_is_caught_and_the_parts_are_wanted_anew(self, target: Target) -> None:
        data = os.urandom(2 * SIZE)
        sha256 = target.send_parts(data, SIZE, [0])
        target.put(flipped(data[SIZE:], 4321), f"parts/{sha256}/1")
        assert target.refusal("assemble", sha256=sha256, size=len(data), parts=2)[0] == "integrity"
        assert target.call("parts", sha256=[sha256])["blobs"][sha256] == {"here": False, "parts": []}
        with pytest.raises(NoSuchFile):
            target.get(f"blobs/{sha256}")

    @pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 0])
    def test_a_wrong_size_is_caught(self, target: Target, size: int) -> None:
        sha256 = target.send_parts(os.urandom(SIZE), SIZE, [0])
        assert target.refusal("assemble", sha256=sha256, size=size, parts=1)[0] == "integrity"

    def test_parts_joined_in_another_order_are_caught(self, target: Target) -> None:
        data = os.urandom(2 * SIZE)
        sha256 = hashlib.sha256(data).hexdigest()
        target.put(data[SIZE:], f"parts/{sha256}/0")
        target.put(data[:SIZE], f"parts/{sha256}/1")
        assert target.refusal("assemble", sha256=sha256, size=len(data), parts=2)[0] == "integrity"

    def test_a_blob_assembled_twice_is_no_error(self, target: Target) -> None:
        data = os.urandom(SIZE)
        sha256 = target.send(data)
        assert target.send(data) == sha256
        assert target.get(f"blobs/{sha256}") == data

    def test_a_blob_assembled_by_two_at_once_is_whole(self, target: Target) -> None:
        data = os.urandom(4 * SIZE)
        sha256 = target.send_parts(data, SIZE, range(4))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: target.call("assemble", sha256=sha256, size=len(data), parts=4), range(4)))
        assert target.get(f"blobs/{sha256}") == data

    def test_a_hostile_sha256_is_refused(self, target: Target) -> None:
        for sha256 in HOSTILE_HASHES:
            assert target.refusal("assemble", sha256=sha256, size=0, parts=0)[0] == "bad_request", sha256
        assert target.refusal("parts", sha256=HOSTILE_HASHES)[0] == "bad_request"

    def test_the_parts_of_a_huge_upload_fit_in_a_reply(self, target: Target) -> None:
        sha256 = hashlib.sha256(os.urandom(8)).hexdigest()
        target.put(b"x", f"parts/{sha256}/0")
        target.eval(
            "[open(os.path.join(sys.argv[1], str(n)), 'w').close() for n in range(9000)][:0]", f"parts/{sha256}"
        )
        listed = target.call("parts", sha256=[sha256])["blobs"][sha256]["parts"]
        assert [number for number, _ in listed] == list(range(len(listed)))
        assert len(listed) >= 1000

    def test_gc_takes_what_nobody_asked_for_in_days(self, target: Target) -> None:
        old, asked, young = (target.send(os.urandom(SIZE)) for _ in range(3))
        parts = target.send_parts(os.urandom(2 * SIZE), SIZE, [0])
        self.make_old(target, f"blobs/{old}", f"blobs/{asked}", f"parts/{parts}/0", f"parts/{parts}")
        target.call("parts", sha256=[asked])
        assert sorted(target.call("gc", days=7, bytes=10**12)["deleted"]) == sorted([old, parts])
        found = target.call("parts", sha256=[old, asked, young, parts])["blobs"]
        assert [found[each]["here"] for each in (old, asked, young)] == [False, True, True]
        assert found[parts]["parts"] == []

    def test_gc_keeps_the_youngest_blobs_within_a_size(self, target: Target) -> None:
        first, second, third = (target.send(os.urandom(SIZE)) for _ in range(3))
        target.eval("[os.utime(p, (t, t)) for t, p in enumerate(sys.argv[1:], 2_000_000_000)]", f"blobs/{second}")
        target.eval("os.utime(sys.argv[1], (2_000_000_001,) * 2)", f"blobs/{first}")
        assert third in target.call("gc", days=7, bytes=2 * SIZE)["deleted"]
        found = target.call("parts", sha256=[first, second, third])["blobs"]
        assert [found[each]["here"] for each in (first, second, third)] == [True, True, False]

    @staticmethod
    def make_old(target: Target, *paths: str) -> None:
        """Set the times of the target's files eight days back, by its own clock."""
        target.eval("[os.utime(path, (time.time() - 8 * 86400,) * 2) for path in sys.argv[1:]]", *paths)
