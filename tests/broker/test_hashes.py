"""A file is hashed once, and again when it has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.broker import Broker
from broker.job import FileId
from broker.journal import Journal
from tests.broker.jobs import request

SHA = "a" * 64


def test_a_hash_is_known_until_the_file_changes(tmp_path: Path) -> None:
    source, before = Path(os.fsdecode(b"/\xff.dat")), FileId(1, 2, 3)
    with Journal(tmp_path / "journal.sqlite3") as journal:
        hashes = journal.hashes
        assert hashes.known(source, before) is None
        hashes.remember(source, before, SHA)
        assert hashes.known(source, before) == SHA
        assert hashes.known(Path("/other.dat"), before) is None
        for after in (FileId(9, 2, 3), FileId(1, 9, 3), FileId(1, 2, 9), FileId(1, 2, 3, 9)):
            assert hashes.known(source, after) is None
        hashes.remember(source, FileId(9, 2, 3), "b" * 64)
        assert hashes.known(source, FileId(9, 2, 3)) == "b" * 64


def test_an_input_is_hashed_once(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request(tmp_path / "media", b"one")
    broker.submit(wanted)
    monkeypatch.setattr("broker.hashes.file_sha256", lambda path: pytest.fail("hashed again"))
    broker.submit(wanted)


def test_a_file_changed_in_place_is_hashed_again_whatever_time_it_is_given(broker: Broker, tmp_path: Path) -> None:
    source = tmp_path / "clip.dat"
    source.write_bytes(b"one")
    before = source.stat()
    _, first = broker.journal.hashes.identify(source)
    source.write_bytes(b"two")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (source.stat().st_size, source.stat().st_ino) == (before.st_size, before.st_ino)
    assert broker.journal.hashes.identify(source)[1] != first
