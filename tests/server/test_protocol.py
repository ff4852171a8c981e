"""Heads of requests that are too long or never end: who sends them is hung up on, and nobody else waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from server import protocol
from tests.server.serving import Serving

HANGS = 60.0


@pytest.fixture
def line(serving: Serving) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", serving.port), timeout=HANGS) as opened:
        yield opened


def test_a_head_without_end_is_hung_up_on(serving: Serving, line: socket.socket) -> None:
    line.sendall(b"GET / HTTP/1.1\r\nx: ")
    sent = 0
    with pytest.raises(OSError):  # reset or broken pipe, whichever is noticed first
        while sent < 100 * protocol.HEAD_BYTES:
            line.sendall(b"y" * 16_384)
            sent += 16_384
    with serving.http() as http:
        assert http.get("/v1/health").status_code == 200


def test_a_head_that_is_long_enough_for_anybody_is_read(serving: Serving) -> None:
    with serving.http() as http:
        assert http.get("/v1/health", headers={"x": "y" * 40_000}).status_code == 200


def test_a_large_body_is_no_head(serving: Serving, line: socket.socket) -> None:
    """Whatever pieces it comes in: also where the end of the head and the body come together."""
    body = b" " * 500_000
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1:{serving.port}\r\nauthorization: Bearer {serving.token}\r\n"
    rest = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    line.sendall(head.encode())
    line.sendall(rest.encode() + body)
    assert line.recv(100).startswith(b"HTTP/1.1 422 ")


def test_whoever_says_nothing_or_not_enough_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection of its own, with less patience."""
    import asyncio

    import uvicorn
    from uvicorn.server import ServerState

    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("there was no request")

    async def ends(sent: bytes) -> bool:
        config = uvicorn.Config(app, log_config=None)
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: protocol.Protocol(config, ServerState(), {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(sent)
        found = await asyncio.wait_for(reader.read(), HANGS) == b""
        writer.close()
        server.close()
        return found

    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    for sent in (b"", b"GET / HTTP/1.1\r\nhost: x\r\n"):
        assert asyncio.run(ends(sent))


@pytest.mark.parametrize("twice", ["host", "origin"])
def test_two_of_a_kind_are_not_ours(serving: Serving, line: socket.socket, twice: str) -> None:
    own = f"127.0.0.1:{serving.port}"
    words = {"host": [own], "origin": [f"http://{own}"]}
    words[twice].append("evil.example")
    heads = "".join(f"{name}: {word}\r\n" for name, found in words.items() for word in found)
    line.sendall(f"GET /v1/health HTTP/1.1\r\n{heads}authorization: Bearer {serving.token}\r\n\r\n".encode())
    assert line.recv(100).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))
