"""Uploads: none is lost, none is taken for what it is not, whoever dies in the middle."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from broker.errors import ConfigError, IntegrityError, LimitError
from broker.job import FileId
from server import parts, senders
from server.blobs import DAY, Blobs
from server.problems import NotFound, Refusal
from tests.executors.test_local import tmpfs
from tests.server.serving import Serving

MOST = 10**9
BYTES = {"Content-Type": "application/offset+octet-stream"}
HANGS = 60.0


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def chunks(*found: bytes) -> AsyncIterator[bytes]:
    for chunk in found:
        yield chunk


async def broken(*found: bytes) -> AsyncIterator[bytes]:
    for chunk in found:
        yield chunk
    raise ClientDisconnect


def begin(store: Blobs, data: bytes) -> str:
    return store.begin(len(data), sha256(data)).upload


def send(store: Blobs, upload: str, offset: int, *found: bytes) -> None:
    asyncio.run(store.append(upload, offset, chunks(*found)))


def lose(store: Blobs, upload: str, offset: int, *found: bytes) -> None:
    with pytest.raises(ClientDisconnect):
        asyncio.run(store.append(upload, offset, broken(*found)))


@pytest.fixture
def store(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path, MOST)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# What comes is kept, and only what was told


def test_what_was_sent_is_a_file_nobody_may_write(store: Blobs) -> None:
    data = content(3_000_000)
    upload = begin(store, data)
    send(store, upload, 0, data[:10], b"", data[10:2_000_000], data[2_000_000:])
    assert store.path(sha256(data)).read_bytes() == data
    assert store.path(sha256(data)).stat().st_mode & 0o777 == 0o400
    assert store.state(upload).known
    assert store.begin(len(data), sha256(data)).known


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_sizes_at_the_edges(store: Blobs, size: int) -> None:
    data = content(size)
    told = store.begin(size, sha256(data))
    assert told.known == (size == 0)
    send(store, told.upload, told.offset, *([data] if size else []))
    assert store.path(sha256(data)).read_bytes() == data


@effort(max_examples=60)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 5000), st.booleans(), st.booleans()), max_size=8), size=st.integers(0, 5000)
)
def test_wherever_it_is_cut_it_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cuts: Sequence[tuple[int, bool, bool]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    store, data = Blobs(folder, MOST), content(size)
    upload = begin(store, data)
    for length, breaks, restarts in cuts:
        offset = store.state(upload).offset
        piece = data[offset : offset + length]
        (lose if breaks else send)(store, upload, offset, piece[:7], piece[7:])
        store = Blobs(folder, MOST) if restarts else store
        told = store.state(upload)
        # A last byte whose sender broke off comes again: at its end an upload is a blob, or gone.
        assert told.offset == (offset + len(piece) if told.known else min(offset + len(piece), max(size - 1, 0)))
    told = store.state(upload)
    send(store, upload, told.offset, data[told.offset :])
    assert store.path(sha256(data)).read_bytes() == data
    assert left(folder) == [sha256(data)]


def test_a_wrong_hash_leaves_nothing(store: Blobs, tmp_path: Path) -> None:
    data = content(5000)
    upload = begin(store, data)
    with pytest.raises(IntegrityError, match="nothing of it is kept"):
        send(store, upload, 0, data[:-1] + b"!")
    assert left(tmp_path) == []
    with pytest.raises(NotFound):
        store.state(upload)
    send(store, begin(store, data), 0, data)
    assert store.path(sha256(data)).read_bytes() == data


def test_a_flipped_bit_of_what_lay_there_over_a_restart_is_found(store: Blobs, tmp_path: Path) -> None:
    data = content(5000)
    upload = begin(store, data)
    send(store, upload, 0, data[:4000])
    [file] = (tmp_path / "uploads").iterdir()
    file.write_bytes(data[:100] + b"!" + data[101:4000])
    with pytest.raises(IntegrityError):
        send(Blobs(tmp_path, MOST), upload, 4000, data[4000:])
    assert left(tmp_path) == []


def test_too_much_is_refused_and_what_fits_goes_on(store: Blobs) -> None:
    data = content(5000)
    upload = begin(store, data)
    with pytest.raises(Refusal, match="more came") as refused:
        send(store, upload, 0, data[:1000], data[1000:] + b"!")
    assert refused.value.status == 413
    assert store.state(upload).offset == 1000
    send(store, upload, 1000, data[1000:])
    with pytest.raises(Refusal) as refused:
        send(store, upload, 5000, b"!")
    assert refused.value.status == 413
    assert store.path(sha256(data)).read_bytes() == data


def test_too_little_is_no_file(store: Blobs) -> None:
    data = content(5000)
    upload = begin(store, data)
    send(store, upload, 0, data[:4999])
    assert (store.state(upload).offset, store.state(upload).known) == (4999, False)
    with pytest.raises(NotFound):
        store.path(sha256(data))


@pytest.mark.parametrize("offset", [0, 999, 1001, 5000, 2**53])
def test_a_wrong_offset_is_told_the_right_one(store: Blobs, offset: int) -> None:
    data = content(5000)
    upload = begin(store, data)
    send(store, upload, 0, data[:1000])
    with pytest.raises(Refusal) as refused:
        send(store, upload, offset, data)
    assert (refused.value.status, refused.value.headers) == (409, {"Upload-Offset": "1000"})
    assert store.state(upload).offset == 1000


def test_larger_than_allowed_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="more than this server takes") as refused:
        Blobs(tmp_path, 1000).begin(1001, "0" * 64)
    assert refused.value.status == 413
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "upload",
    ["", "..", "../token", "0" * 64, f"{'0' * 64}-01", f"{'0' * 64}-1\n", f"{'A' * 64}-1", f"{'0' * 64}-1/../x"],
)
def test_a_name_that_is_no_uploads_names_no_file(store: Blobs, tmp_path: Path, upload: str) -> None:
    (tmp_path / "token").write_text("secret")
    for ask in (store.state, store.drop, store.path):
        with pytest.raises(NotFound):
            ask(upload)
    assert left(tmp_path) == ["token"]


# One at a time


def test_of_two_senders_at_once_the_second_is_refused(store: Blobs) -> None:
    data = content(5000)
    upload = begin(store, data)

    async def both() -> None:
        come, go = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield data[:1000]
            come.set()
            await go.wait()
            yield data[1000:]

        first = asyncio.create_task(store.append(upload, 0, slowly()))
        await come.wait()
        with pytest.raises(Refusal, match="being sent already") as refused:
            await store.append(upload, 0, chunks(data))
        assert (refused.value.status, refused.value.headers) == (409, {"Upload-Offset": "0"})
        go.set()
        assert (await first).known

    asyncio.run(both())
    assert store.path(sha256(data)).read_bytes() == data


def test_of_two_servers_one_receives_an_upload_at_a_time(store: Blobs, tmp_path: Path) -> None:
    data, other = content(5000), Blobs(tmp_path, MOST)
    upload = begin(store, data)

    async def both() -> AsyncIterator[bytes]:
        yield data[:1000]
        with pytest.raises(Refusal, match="being sent already") as refused:
            await other.append(upload, 0, chunks(b"!" * 5000))
        assert refused.value.status == 409
        yield data[1000:]

    asyncio.run(store.append(upload, 0, both()))
    assert store.path(sha256(data)).read_bytes() == data
    assert left(tmp_path) == [sha256(data)]


def test_what_another_server_made_of_an_upload_is_hashed_anew(store: Blobs, tmp_path: Path) -> None:
    data, other = content(5000), Blobs(tmp_path, MOST)
    upload = begin(store, data)
    lose(store, upload, 0, data[:4000])
    other.drop(upload)
    begin(other, data)
    lose(other, upload, 0, b"!" * 4000)
    with pytest.raises(IntegrityError):
        send(store, upload, 4000, data[4000:])
    assert left(tmp_path) == []


def test_dropped_by_another_server_while_it_is_sent(store: Blobs, tmp_path: Path) -> None:
    data, other = content(5000), Blobs(tmp_path, MOST)
    upload = begin(store, data)

    async def dropped() -> AsyncIterator[bytes]:
        yield data[:1000]
        other.drop(upload)
        begin(other, data)
        yield data[1000:]

    with pytest.raises(NotFound):
        asyncio.run(store.append(upload, 0, dropped()))
    assert other.state(upload).offset == 0
    send(other, upload, 0, data)
    assert other.path(sha256(data)).read_bytes() == data


def test_dropped_while_it_is_sent_and_begun_anew(store: Blobs, tmp_path: Path) -> None:
    data = content(5000)
    upload = begin(store, data)

    async def dropped() -> AsyncIterator[bytes]:
        yield data[:1000]
        store.drop(upload)
        begin(store, data)
        yield data[1000:]

    with pytest.raises(NotFound):
        asyncio.run(store.append(upload, 0, dropped()))
    assert store.state(upload).offset == 0  # of the new one: the old one's bytes are not in it
    send(store, upload, 0, data)
    assert store.path(sha256(data)).read_bytes() == data
    store.drop(upload)
    assert left(tmp_path) == []


def test_a_silent_sender_does_not_keep_the_next_one_out(store: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "SILENT_SECONDS", 0.05)
    data = content(5000)
    upload = begin(store, data)

    async def silent() -> AsyncIterator[bytes]:
        yield data[:1000]
        await asyncio.Event().wait()

    with pytest.raises(Refusal, match="what had come is kept") as refused:
        asyncio.run(store.append(upload, 0, silent()))
    assert refused.value.status == 408
    send(store, upload, 1000, data[1000:])
    assert store.path(sha256(data)).read_bytes() == data


# What stays, and what goes


def test_what_nobody_needs_goes(store: Blobs, tmp_path: Path) -> None:
    old, new, blob = content(100, 1), content(100, 2), content(100, 3)
    left_over, fresh = begin(store, old), begin(store, new)
    send(store, left_over, 0, old[:50])
    send(store, fresh, 0, new[:50])
    send(store, begin(store, blob), 0, blob)
    then = time.time() - 8 * DAY
    os.utime(tmp_path / "uploads" / left_over, (then, then))
    store.sweep()
    assert left(tmp_path) == sorted([fresh, sha256(blob)])


def test_a_blob_stays_while_a_job_has_it_and_a_day_more(store: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(100)
    send(store, begin(store, data), 0, data)
    job = store.path(sha256(data)).parent / "job"
    os.link(store.path(sha256(data)), job)
    known_by, now = FileId.of(job), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    store.sweep()
    assert store.begin(100, sha256(data)).known
    assert FileId.of(job).is_like(known_by)  # to ask for it is no change: a job would think that its input is another
    job.unlink()
    monkeypatch.setattr(time, "time", lambda: now + DAY - 60)
    store.sweep()
    assert store.begin(100, sha256(data)).known
    monkeypatch.setattr(time, "time", lambda: now + DAY + 60)
    store.sweep()
    assert not store.begin(100, sha256(data)).known


def test_a_full_disk_is_told_and_the_upload_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SPARE_BYTES", 0)
    with tmpfs(tmp_path) as small:
        store, data = Blobs(small, MOST), content(3_000_000)
        with pytest.raises(Refusal, match="do not fit") as refused:
            store.begin(5_000_000, "0" * 64)
        assert (refused.value.status, refused.value.exit_code) == (413, LimitError.exit_code)
        upload, other = begin(store, data), small / "other"
        other.write_bytes(content(2_500_000))
        with pytest.raises(LimitError, match="is full"):
            send(store, upload, 0, *(data[start : start + 65536] for start in range(0, len(data), 65536)))
        other.unlink()
        offset = store.state(upload).offset
        assert 1_000_000 < offset < 2_000_000
        send(store, upload, offset, data[offset:])
        assert store.path(sha256(data)).read_bytes() == data


def test_a_file_where_uploads_go_is_told(store: Blobs, tmp_path: Path) -> None:
    data = content(1000)
    upload = f"{sha256(data)}-{len(data)}"
    (tmp_path / "uploads").touch()
    for ask in (lambda: begin(store, data), lambda: store.state(upload), lambda: send(store, upload, 0, data)):
        with pytest.raises(ConfigError, match="uploads cannot be kept") as refused:
            ask()
        assert "OFFLOAD_STATE_DIR" in refused.value.hint


def test_uploads_leave_room_for_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SPARE_BYTES", 1_000_000)
    with tmpfs(tmp_path) as small:
        store, both = Blobs(small, MOST), [content(2_500_000, seed) for seed in (1, 2)]
        first, second = (begin(store, data) for data in both)  # each would fit alone
        send(store, first, 0, both[0])
        with pytest.raises(LimitError, match="is full"):
            send(store, second, 0, *(both[1][start : start + 65536] for start in range(0, len(both[1]), 65536)))
        assert shutil.disk_usage(small).free >= 1_000_000


def test_who_died_between_closing_an_upload_and_naming_it_costs_nothing(store: Blobs, tmp_path: Path) -> None:
    data = content(1000)
    upload = begin(store, data)
    [file] = [path for path in tmp_path.rglob(upload) if path.is_file()]
    file.write_bytes(data)
    file.chmod(0o400)
    part = parts.Part(file, sha256(data), len(data))
    part.open()
    assert file.stat().st_mode & 0o777 == 0o600  # root may write it all the same; nobody else
    part.close()


# The server


def patch(http: httpx.Client, upload: str, offset: int, data: bytes | Iterator[bytes]) -> httpx.Response:
    return http.patch(f"/v1/blobs/{upload}", content=data, headers=BYTES | {"Upload-Offset": str(offset)})


def offered(http: httpx.Client, data: bytes) -> httpx.Response:
    return http.post("/v1/blobs", json={"size": len(data), "sha256": sha256(data)})


def told_offset(http: httpx.Client, upload: str) -> int:
    return int(http.head(f"/v1/blobs/{upload}").headers["Upload-Offset"])


def until(condition: object, what: str) -> None:
    deadline = time.monotonic() + HANGS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_a_size_is_a_whole_number(serving: Serving) -> None:
    with serving.http() as http:
        for size, status in (("5", 422), (True, 422), (None, 422), (5.5, 422), (5.0, 201)):
            begun = http.post("/v1/blobs", json={"size": size, "sha256": "0" * 64})
            assert begun.status_code == status, size


def test_over_http(serving: Serving) -> None:
    data = content(300_000)
    with serving.http() as http:
        begun = offered(http, data)
        upload = begun.json()["upload"]
        assert (begun.status_code, begun.headers["Location"]) == (201, f"/v1/blobs/{upload}")
        for start in range(0, 262_144, 65_536):
            assert patch(http, upload, start, data[start : start + 65_536]).json()["offset"] == start + 65_536
        asked = http.head(f"/v1/blobs/{upload}")
        assert (asked.headers["Upload-Offset"], asked.headers["Upload-Length"]) == ("262144", "300000")
        wrong = patch(http, upload, 0, data)
        assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (409, "262144")
        assert wrong.json()["hint"]
        assert patch(http, upload, 262_144, data).status_code == 413
        assert patch(http, upload, 262_144, iter([data])).status_code == 413
        assert patch(http, f"{'0' * 64}-1", 0, b"x").status_code == 404
        assert http.patch(f"/v1/blobs/{upload}", content=b"x", headers={"Upload-Offset": "262144"}).status_code == 415
        assert http.patch(f"/v1/blobs/{upload}", content=b"x", headers=BYTES).status_code == 422
        assert patch(http, upload, 262_144, iter([data[262_144:]])).json()["known"]
        again = offered(http, data)
        assert (again.status_code, again.json()["known"]) == (200, True)
        assert http.get(f"/v1/blobs/{upload}").json()["offset"] == 300_000
        lie = http.post("/v1/blobs", json={"size": 3, "sha256": sha256(b"abc")}).json()["upload"]
        assert patch(http, lie, 0, b"abd").status_code == 460
        assert http.get(f"/v1/blobs/{lie}").status_code == 404
        assert http.delete(f"/v1/blobs/{upload}").status_code == 204
        assert http.delete(f"/v1/blobs/{upload}").status_code == 404
        for size in (-1, 2**53 + 1, 1e300, "x", None):
            assert http.post("/v1/blobs", json={"size": size, "sha256": "0" * 64}).status_code == 422
        for name in ("%00", "..%2f..%2ftoken", "%ff", "x" * 5000):
            assert http.get(f"/v1/blobs/{name}").status_code == 404


def test_the_server_is_killed_in_the_middle(serving: Serving, tmp_path: Path) -> None:
    data = content(8_000_000)
    with serving.http() as http:
        upload = offered(http, data).json()["upload"]

        def dying() -> Iterator[bytes]:
            for start in range(0, len(data), 65_536):
                yield data[start : start + 65_536]
                if start > 4_000_000 and serving.process:
                    until(lambda: told_offset(http_too, upload) >= 2_000_000, "nothing is kept")
                    serving.kill()

        with serving.http() as http_too, pytest.raises(httpx.TransportError):
            patch(http, upload, 0, dying())
    serving.start()
    with serving.http() as http:
        offset = told_offset(http, upload)
        assert 2_000_000 <= offset < 4_200_000
        assert patch(http, upload, offset, data[offset:]).json()["known"]
        assert offered(http, data).json()["known"]


SENDER = """
import socket, sys, time
port, token, upload, size = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
with socket.create_connection(("127.0.0.1", port)) as to, open(sys.argv[5], "rb") as file:
    head = (f"PATCH /v1/blobs/{upload} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {token}",
        "Content-Type: application/offset+octet-stream", "Upload-Offset: 0", f"Content-Length: {size}", "", "")
    to.sendall("\\r\\n".join(head).encode())
    to.sendall(file.read(3_000_123))
    print("sent", flush=True)
    time.sleep(300)
"""


def test_the_client_is_killed_in_the_middle(serving: Serving, tmp_path: Path) -> None:
    data, file = content(8_000_000), tmp_path / "clip.mp4"
    file.write_bytes(data)
    with serving.http() as http:
        upload = offered(http, data).json()["upload"]
        typed = [sys.executable, "-c", SENDER, str(serving.port), serving.token, upload, str(len(data)), str(file)]
        with subprocess.Popen(typed, stdout=subprocess.PIPE) as sender:
            assert sender.stdout and sender.stdout.readline() == b"sent\n"
            sender.kill()
        until(lambda: told_offset(http, upload) == 3_000_123, "what had come is not all kept")
        again = offered(http, data)  # what a new client does, that knows of no upload
        assert (again.status_code, again.json()["offset"]) == (201, 3_000_123)
        until(lambda: patch(http, upload, 3_000_123, data[3_000_123:]).status_code != 409, "it is taken for ever")
        assert offered(http, data).json()["known"]


def test_a_sender_that_speaks_no_http_is_no_trouble(serving: Serving) -> None:
    with socket.create_connection(("127.0.0.1", serving.port)) as rude:
        head = f"PATCH /v1/blobs/{'0' * 64}-5 HTTP/1.1\r\nHost: 127.0.0.1:{serving.port}\r\n"
        rude.sendall(
            f"{head}Authorization: Bearer {serving.token}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
        )
        assert rude.recv(100).startswith(b"HTTP/1.1 4")
    with serving.http() as http:
        assert offered(http, b"x").status_code == 201
    assert "Traceback" not in serving.log.read_text()
