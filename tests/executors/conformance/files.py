"""Files: parts in, ranges out."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex

import pytest

from executors.base import PART_BYTES, NoSuchFile, Span, TransferFailed
from tests.executors.conformance.suite import Suite
from tests.executors.target import Target

DATA = os.urandom(1000)

HOSTILE_PATHS = [
    "",
    "/etc/passwd",
    "..",
    "../escape",
    "jobs/../../escape",
    "jobs/..",
    "./x",
    "a//b",
    "a/",
    ".hidden",
    "a/.hidden",
    "-rf",
    "a/-rf",
    "~root/x",
    "a b",
    "a\tb",
    "a\nb",
    "a\n",
    "a\0b",
    "a;b",
    "a|b",
    "a&b",
    "$HOME",
    "`id`",
    "$(id)",
    "a*b",
    "a?b",
    "a'b",
    'a"b',
    "a\\b",
    "C:x",
    "%2e%2e/x",
    "é",
    "a\u202eb",
    "\ud800",
]


class Files(Suite):
    """`put`, `get` and `local_path`."""

    def test_what_is_put_can_be_got(self, target: Target) -> None:
        path = f"files/{token_hex(4)}/deep/er/a.bin"
        target.put(DATA, path)
        assert target.get(path) == DATA

    def test_parts_may_come_out_of_order_and_twice(self, target: Target) -> None:
        folder, source = f"files/{token_hex(4)}", target.local_file(DATA)
        for number in (3, 0, 2, 3, 1, 0, 3):
            target.executor.put(source, Span(number * 300, 300 if number < 3 else 100), f"{folder}/{number}")
        assert b"".join(target.get(f"{folder}/{number}") for number in range(4)) == DATA

    def test_a_part_put_again_replaces_the_whole_of_the_old_one(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        target.put(DATA, path)
        target.put(b"shorter", path)
        assert target.get(path) == b"shorter"

    def test_a_source_that_has_shrunk_leaves_nothing_behind(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        with pytest.raises(TransferFailed):
            target.executor.put(target.local_file(DATA), Span(500, 501), path)
        with pytest.raises(NoSuchFile):
            target.get(path)

    def test_a_source_that_has_shrunk_leaves_an_older_part_alone(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        target.put(b"older", path)
        with pytest.raises(TransferFailed):
            target.executor.put(target.local_file(DATA), Span(500, 501), path)
        assert target.get(path) == b"older"

    def test_a_source_that_is_gone_is_a_failed_transfer(self, target: Target) -> None:
        with pytest.raises(TransferFailed):
            target.executor.put(target.scratch / "gone", Span(0, 1), f"files/{token_hex(4)}")

    def test_ranges(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        target.put(DATA, path)
        for offset, length in [(0, 10), (400, 200), (990, 100), (1000, 10), (5000, 10), (0, 0), (500, 0), (0, 1000)]:
            found = target.executor.get(path, Span(offset, length))
            assert found == DATA[offset : offset + length], (offset, length)

    def test_an_empty_file(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        target.put(b"", path)
        assert target.get(path) == b""

    def test_many_parts_at_once_from_several_threads(self, target: Target) -> None:
        data, size, folder = os.urandom(5 * 2**20 + 17), 2**20, f"files/{token_hex(4)}"
        source = target.local_file(data)
        spans = [Span(offset, min(size, len(data) - offset)) for offset in range(0, len(data), size)]
        paths = [f"{folder}/{number}" for number in range(len(spans))]
        with ThreadPoolExecutor(target.executor.streams) as pool:
            list(pool.map(target.executor.put, [source] * len(spans), spans, paths))
            found = list(pool.map(target.executor.get, paths, [Span(0, size)] * len(spans)))
        assert b"".join(found) == data

    def test_the_same_part_from_several_threads_is_whole(self, target: Target) -> None:
        path, source = f"files/{token_hex(4)}", target.local_file(DATA)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: target.executor.put(source, Span(0, 1000), path), range(12)))
        assert target.get(path) == DATA

    def test_a_part_of_full_size(self, target: Target) -> None:
        data, path = os.urandom(PART_BYTES), f"files/{token_hex(4)}"
        target.put(data, path)
        assert target.executor.get(path, Span(0, PART_BYTES)) == data

    @pytest.mark.parametrize("span", [Span(0, PART_BYTES + 1), Span(-1, 10), Span(0, -1)])
    def test_no_part_is_larger_than_the_limit_or_negative(self, target: Target, span: Span) -> None:
        path = f"files/{token_hex(4)}"
        with pytest.raises(ValueError, match="at most"):
            target.executor.put(target.local_file(DATA), span, path)
        with pytest.raises(ValueError, match="at most"):
            target.executor.get(path, span)

    @pytest.mark.parametrize("path", HOSTILE_PATHS, ids=ascii)
    def test_hostile_paths_are_refused(self, target: Target, path: str) -> None:
        with pytest.raises(ValueError, match="not a path"):
            target.put(DATA, path)
        with pytest.raises(ValueError, match="not a path"):
            target.get(path)

    def test_a_missing_file_is_named(self, target: Target) -> None:
        missing = f"files/{token_hex(4)}"
        with pytest.raises(NoSuchFile, match=missing):
            target.get(missing)
        with pytest.raises(NoSuchFile, match=missing):
            target.get(f"{missing}/below")

    def test_a_local_path_if_any_is_the_same_file(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        target.put(DATA, path)
        here = target.executor.local_path(path)
        assert here is None or here.read_bytes() == DATA

    def test_no_hostile_path_is_a_local_path(self, target: Target) -> None:
        if target.executor.local_path("files") is None:
            return  # nothing is shared, so nothing can be reached
        for path in HOSTILE_PATHS:
            with pytest.raises(ValueError, match="not a path"):
                target.executor.local_path(path)
