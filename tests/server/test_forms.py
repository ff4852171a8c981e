"""Forms are read as they come, however they are cut, and whatever is wrong with one is said and leaves nothing."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from broker.errors import LimitError
from server import forms, senders
from server.problems import Refusal

TYPE = "multipart/form-data; boundary=XX"
CONTENT = bytes(range(256)) * 4 + b"\r\n--X\r\n--XY\r\n\r\n"
FORM = (
    b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="t\xc3\xa4lk.wav"\r\nContent-Type: a/b\r\n\r\n'
    + CONTENT
    + b'\r\n--XX\r\ncontent-disposition: form-data; name="grain[]"\r\n\r\nword\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="grain[]"\r\n\r\nsegment\r\n--XX--\r\n'
)


def read(pieces: Iterable[bytes], draft: Path, most: int = 10**9, kind: str = TYPE) -> forms.Form:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return asyncio.run(forms.read(kind, chunks(), draft, most))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096, 10**6])
def test_a_form_is_the_same_however_it_is_cut(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "PIECE_BYTES", size)
    draft = tmp_path / "draft"
    form = read([FORM[at : at + size] for at in range(0, len(FORM), size)], draft)
    assert form.fields == {"model": ["whisper-1"], "grain[]": ["word", "segment"]}
    assert form.file == forms.Sent("file", "tälk.wav", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert draft.read_bytes() == CONTENT
    assert draft.stat().st_mode & 0o777 == 0o400


def test_a_large_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    head, tail = FORM.split(CONTENT)
    piece = os.urandom(2**16)
    tracemalloc.start()
    try:
        form = read([head, *([piece] * 1000), tail], tmp_path / "draft")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert form.file and form.file.size == 1000 * 2**16 == (tmp_path / "draft").stat().st_size
    assert peak < 10 * forms.PIECE_BYTES


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--XX\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name, more, value)


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (FORM, "application/json", 415, "multipart/form-data"),
        (FORM, "", 415, "multipart/form-data"),
        (FORM, "multipart/form-data", 415, "boundary"),
        (FORM, f"multipart/form-data; boundary={'x' * 300}", 400, "cannot be read"),
        (b"", TYPE, 400, "cut short"),
        (FORM[:-30], TYPE, 400, "cut short"),
        (FORM[:300], TYPE, 400, "cut short"),
        (b"nonsense", TYPE, 400, "cannot be read"),
        (b"--XX\r\nX-Long: " + b"x" * 100_000, TYPE, 400, "cannot be read"),
        (b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--", TYPE, 400, "no name"),
        (part(b"a", b"x" * 70_000) + b"--XX--", TYPE, 413, "65536 bytes"),
        (part(b"a", b"") * 70_000 + b"--XX--", TYPE, 413, "65536 bytes"),
        (part(b"a", b"1", b'; filename="1"') * 2 + b"--XX--", TYPE, 400, "several files"),
        (part(b"a", b"1" * 2000, b'; filename="1"') + b"--XX--", TYPE, 413, "more than the 1000 bytes"),
    ],
)
def test_what_is_no_such_form_is_refused(content: bytes, kind: str, status: int, said: str, tmp_path: Path) -> None:
    most = 1000 if "1000 bytes" in said else 10**9
    with pytest.raises(Refusal, match=said) as caught:
        read([content], tmp_path / "draft", most, kind)
    assert caught.value.status == status


def test_damage_anywhere_is_a_form_or_a_refusal(tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(100):
        spoilt = bytearray(FORM)
        for _ in range(3):
            spoilt[chance.randrange(200 if number % 2 else len(spoilt))] = chance.randrange(256)
        try:
            read([bytes(spoilt)], tmp_path / f"{number}")
        except Refusal as refusal:
            assert 400 <= refusal.status < 500


def test_a_sender_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "SILENT_SECONDS", 0.01)

    async def silent() -> AsyncIterator[bytes]:
        yield FORM[:100]
        await asyncio.sleep(300)

    with pytest.raises(Refusal, match=r"nothing came for 0 s$") as caught:
        asyncio.run(forms.read(TYPE, silent(), tmp_path / "draft", 10**9))
    assert caught.value.status == 408


def test_a_full_disk_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(forms, "FileIO", Full)
    with pytest.raises(LimitError, match="is full"):
        read([FORM], tmp_path / "draft")
