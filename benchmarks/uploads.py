"""Claim: 1 GB is uploaded at >= 0.5 of the speed of a bare sink, and the server grows by <= 64 MB meanwhile.

    python benchmarks/uploads.py [--size 1000000000] [--rounds 3] [--folder FOLDER]

The sink is a server with the same settings that reads what comes and drops it. Ours hashes it, writes it, checks it and
brings it to the disk before it answers: what writing alone costs there is printed beside it. The sender is the same for
both, and does next to nothing: the kernel sends the file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interleave import Timing, environment, machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.server.serving import Serving

SINK = """
import socket, sys
import uvicorn

async def sink(scope, receive, send):
    while (await receive()).get("more_body"):
        continue
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})

bound = socket.create_server(("127.0.0.1", 0))
print(bound.getsockname()[1], flush=True)
settings = dict(log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none", lifespan="off")
uvicorn.Server(uvicorn.Config(sink, **settings)).run([bound])
"""
PIECE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10**9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where uploads lie; else with the temporary files")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        file = folder / "file"
        sha256 = make(file, asked.size)
        with served(folder) as server, sink() as port:
            before = peak(server.pid)
            timing = race(server, port, file, sha256, asked.rounds)
            grown = peak(server.pid) - before
        report(asked.size, timing, disk(folder, file), grown)


def make(file: Path, size: int) -> str:
    """A file that does not compress; returns its sha256."""
    digest, piece = hashlib.sha256(), os.urandom(PIECE)
    with file.open("wb") as to:
        for start in range(0, size, PIECE):
            piece = piece[1:] + piece[:1]
            digest.update(piece[: size - start])
            to.write(piece[: size - start])
    return digest.hexdigest()


@contextmanager
def served(folder: Path) -> Iterator[Serving]:
    """Our server, after an upload that warms it."""
    environment().update({f"OFFLOAD_{name}_DIR": str(folder / name) for name in ("CONFIG", "STATE", "CACHE")})
    small = folder / "small"
    sha256 = make(small, 3 * PIECE)
    with Serving(folder, environment()) as server:
        upload(server, small, sha256)
        yield server


@contextmanager
def sink() -> Iterator[int]:
    """A server that drops what it is sent, at the port that is yielded."""
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def race(server: Serving, port: int, file: Path, sha256: str, rounds: int) -> Timing:
    """Upload to each in turn, after a round that does not count; what was uploaded is removed outside of the time."""
    timing = Timing([], [])
    for number in range(rounds + 1):
        for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            started = time.perf_counter()
            made = upload(server, file, sha256) if name == "ours" else patch(port, "", "x", 0, file)
            seconds = time.perf_counter() - started
            if name == "ours":
                remove(server, made)
            if number:
                getattr(timing, name).append(seconds)
    return timing


def upload(server: Serving, file: Path, sha256: str) -> str:
    with server.http() as http:
        begun = http.post("/v1/blobs", json={"size": file.stat().st_size, "sha256": sha256}).json()
    answer = patch(server.port, server.token, begun["upload"], begun["offset"], file)
    if b'"known":true' not in answer:
        sys.exit(f"the upload failed: {answer!r}")
    return str(begun["upload"])


def remove(server: Serving, upload: str) -> None:
    with server.http() as http:
        http.delete(f"/v1/blobs/{upload}").raise_for_status()


def patch(port: int, token: str, upload: str, offset: int, file: Path) -> bytes:
    """Send a file as one request; returns the answer."""
    lines = (
        f"PATCH /v1/blobs/{upload} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/offset+octet-stream",
        f"Upload-Offset: {offset}",
        f"Content-Length: {file.stat().st_size - offset}",
        "Connection: close",
        "",
        "",
    )
    with socket.create_connection(("127.0.0.1", port)) as to, file.open("rb") as source:
        to.sendall("\r\n".join(lines).encode())
        to.sendfile(source, offset)
        return b"".join(iter(lambda: to.recv(65536), b""))


def peak(pid: int) -> float:
    """The most memory that a process has had so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def disk(folder: Path, file: Path) -> float:
    """Seconds that writing the file costs there, with nothing else."""
    started = time.perf_counter()
    with (folder / "copy").open("wb") as to, file.open("rb") as source:
        while piece := source.read(PIECE):
            to.write(piece)
        to.flush()
        os.fsync(to.fileno())
    return time.perf_counter() - started


def report(size: int, timing: Timing, writing: float, grown: float) -> None:
    ours, theirs = statistics.median(timing.ours), statistics.median(timing.theirs)
    print(f"{size / 1e6:.0f} MB, {len(timing.ours)} rounds, in turn")
    print(
        f"  ours {size / ours / 1e6:6.0f} MB/s, a sink {size / theirs / 1e6:6.0f}, the disk {size / writing / 1e6:6.0f}"
    )
    print(f"  speed {1 / timing.ratio:6.2f} of the sink's (>= 0.5)")
    print(f"  the server grew by {grown:.1f} MB (<= 64)")


if __name__ == "__main__":
    main()
