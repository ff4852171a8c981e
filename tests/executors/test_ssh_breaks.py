"""Connections that are not made, break, hang or are slow: told by name and in time, and nothing is lost by it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from executors.base import PART_BYTES, Lost, NoSuchFile, Refused, Span, TransferFailed, Unreachable, read_part
from executors.ssh import SSHExecutor, connection, files, link
from executors.ssh.address import Address
from tests.executors.sshd import Server, free_port, needs_sshd, sshd
from tests.executors.target import Target
from tests.offload.background import until

pytestmark = needs_sshd

PART = Span(0, PART_BYTES)
SHORT, LONG = 0.5, 60.0
"""Seconds for who never answers, and for who does so as soon as a busy machine lets him."""


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def server(module_server: Server) -> Iterator[Server]:
    """A server that a test may kill."""
    yield module_server
    if module_server.process.poll() is not None:
        module_server.start()


@pytest.fixture
def executor(server: Server) -> Iterator[SSHExecutor]:
    with SSHExecutor("box", server.options()) as executor:
        yield executor


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(PART_BYTES))
    return path


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue of connections is full: the next one is not answered at all."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


@contextmanager
def says(words: bytes, *, hang_up: bool) -> Iterator[int]:
    """A port that accepts everybody and says these words."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        guests: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    guests.append(listener.accept()[0])
                except OSError:
                    return
                guests[-1].sendall(words)
                if hang_up:
                    guests[-1].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for guest in guests:
                guest.close()


def slow_loris() -> AbstractContextManager[int]:
    return says(b"", hang_up=False)


@contextmanager
def dead_port() -> Iterator[int]:
    yield free_port()


UNREACHABLE: dict[str, tuple[Callable[[], AbstractContextManager[int]], str, float]] = {
    "dead port": (dead_port, "connection refused", LONG),
    "black hole": (black_hole, "no answer from .* within 0.5 s", SHORT),
    "slow-loris": (slow_loris, "no answer|does not answer as an SSH server", SHORT),
    "web server": (
        lambda: says(b"HTTP/1.1 400 Bad Request\r\n\r\n", hang_up=True),
        "not an SSH server|as an SSH server",
        LONG,
    ),
    "hangs up": (lambda: says(b"", hang_up=True), "not an SSH server|as an SSH server", LONG),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_what_is_not_there_is_unreachable_and_the_reason_is_said(server: Server, case: str) -> None:
    place, reason, seconds = UNREACHABLE[case]
    with place() as port:
        options = server.options(url=f"ssh://127.0.0.1:{port}", connect_timeout=seconds)
        with pytest.raises(Unreachable, match=reason):
            SSHExecutor("box", options).__enter__()


@pytest.mark.parametrize("case", UNREACHABLE)
def test_a_probe_of_what_is_not_there_says_why_within_its_time(server: Server, case: str) -> None:
    place, reason, seconds = UNREACHABLE[case]
    with place() as port:
        started = time.monotonic()
        options = server.options(url=f"ssh://127.0.0.1:{port}", connect_timeout=2 * LONG)
        probe = SSHExecutor("box", options).probe(seconds)
        took = time.monotonic() - started
    assert not probe.reachable
    assert re.search(reason, probe.reason)
    assert took < 2 * LONG  # as long as connecting may take


def test_a_name_that_nobody_knows(server: Server) -> None:
    executor = SSHExecutor("box", server.options(url="ssh://no-such-host.invalid"))
    assert "the name of no-such-host.invalid:22 is not known" in executor.probe(LONG).reason
    with pytest.raises(Unreachable, match="not known"):
        executor.__enter__()


def test_a_resolver_that_hangs_does_not_outlast_a_probe(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(60) and [])
    probe = SSHExecutor("box", server.options()).probe(0.2)
    hung = not answer.is_set()
    answer.set()
    assert (probe.reachable, hung) == (False, True)
    assert "no answer" in probe.reason


def test_a_probe_leaves_nothing_on_the_target(tmp_path: Path) -> None:
    with sshd(tmp_path) as server:
        assert SSHExecutor("box", server.options()).probe(LONG).reachable
        assert not (server.folder / "root").exists()


def test_killed_in_the_middle_of_a_put(
    server: Server, executor: SSHExecutor, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_part

    def kill_half_way(source: Path, span: Span) -> bytes:
        if span.offset >= PART_BYTES // 2 and server.process.poll() is None:
            server.kill()
        return read(source, span)

    monkeypatch.setattr(files, "read_part", kill_half_way)
    with pytest.raises(Lost, match="box: the connection broke"):
        executor.put(large, PART, "files/half")
    server.start()
    with SSHExecutor("box", server.options()) as again, pytest.raises(NoSuchFile):
        again.get("files/half", PART)


def while_it_hangs(server: Server, work: Callable[[], object]) -> Exception | None:
    """Do some work with a server that has just stopped answering, and that is killed in the middle of it."""
    server.pause()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        until(future.running, "that it is at it")
        time.sleep(0.3)
        server.kill()
        error = future.exception()
    return error if isinstance(error, Exception) else None


def test_killed_in_the_middle_of_a_get(server: Server, executor: SSHExecutor, large: Path) -> None:
    executor.put(large, PART, "files/whole")
    error = while_it_hangs(server, lambda: executor.get("files/whole", PART))
    assert isinstance(error, Lost)


def test_killed_in_the_middle_of_a_command(server: Server, executor: SSHExecutor) -> None:
    with ThreadPoolExecutor(1) as pool:
        note = server.folder / "root" / "started"
        future = pool.submit(executor.run, ["sh", "-c", "echo $$ > started; exec sleep 60"])
        while not note.exists() or not note.read_text().endswith("\n"):
            assert not future.done()
            time.sleep(0.02)
        server.kill()
        assert isinstance(future.exception(), Lost)
    os.kill(int(note.read_text()), 9)  # it outlived its connection, as jobs must
    note.unlink()


def test_killed_between_two_calls(server: Server, executor: SSHExecutor, large: Path) -> None:
    server.kill()
    calls: list[Callable[[], object]] = [
        lambda: executor.put(large, PART, "files/a"),
        lambda: executor.get("files/a", PART),
        lambda: executor.run(["true"]),
    ]
    for call in calls * 2:
        with pytest.raises(Lost):
            call()


def test_killed_at_the_login_is_not_a_refused_login(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = connection.KeyLogin.keys

    def kill_first(login: connection.KeyLogin) -> Iterator[object]:
        server.kill()
        yield from keys(login)

    monkeypatch.setattr(connection.KeyLogin, "keys", kill_first)
    with pytest.raises(Unreachable, match=r"hung up|reset"):
        SSHExecutor("box", server.options()).__enter__()


def test_killed_when_the_login_is_done(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = connection.connect

    def kill_then(address: Address) -> object:
        target = connect(address)
        server.kill()
        return target

    monkeypatch.setattr(connection, "connect", kill_then)
    with pytest.raises(Unreachable):
        SSHExecutor("box", server.options()).__enter__()


def test_a_target_that_falls_silent_is_lost_in_time(server: Server, large: Path) -> None:
    with SSHExecutor("box", server.options()) as patient:
        patient.put(large, Span(0, 10), "files/small")
    with SSHExecutor("box", server.options(silence=10)) as executor:
        server.pause()
        with pytest.raises(Lost, match="box: it does not answer any more"):
            executor.get("files/small", Span(0, 10))
        with pytest.raises(Lost):
            executor.run(["true"], timeout=0.5)
    server.kill()


def test_what_is_not_connected_is_lost(server: Server, large: Path) -> None:
    executor = SSHExecutor("box", server.options())
    with pytest.raises(Lost, match="not connected"):
        executor.run(["true"])
    with pytest.raises(Lost, match="not connected"):
        executor.put(large, PART, "files/a")


def test_a_job_outlives_the_server_itself(server: Server, tmp_path: Path) -> None:
    with SSHExecutor("box", server.options()) as executor:
        target = Target(executor, tmp_path)
        job = target.start(["event", {"type": "log", "n": 1}], ["await", "go"], ["event", {"type": "log", "n": 2}])
        seen = target.wait_for(job, bool)
        server.kill()
        with pytest.raises(Lost):
            target.call("events", job=job, since=0, wait=0)
    server.start()
    with SSHExecutor("box", server.options()) as executor:
        target = Target(executor, tmp_path)
        target.put(b"", f"jobs/{job}/go")
        events, last = target.follow(job)
    assert [event["n"] for event in events] == [1, 2]
    assert (events[0], last["ending"]["exit"]) == (seen[0], 0)


def test_a_target_full_of_sessions_still_works_with_one(tmp_path: Path, large: Path) -> None:
    """The link takes a second file server where it can have one, and does without where not."""
    with sshd(tmp_path) as server, SSHExecutor("box", server.options()) as executor:
        session = executor._session
        assert session is not None
        session.link.round_trip = 0.2
        with ExitStack() as stack:
            for _ in range(9):
                stack.enter_context(session._connection.transport.open_session(timeout=10))
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n: executor.put(large, PART, f"files/{n}"), range(4)))
        assert executor.get("files/3", Span(0, 100)) == large.read_bytes()[:100]


def connections_used(executor: SSHExecutor, large: Path) -> int:
    with ThreadPoolExecutor(executor.streams) as pool:
        list(pool.map(lambda n: executor.put(large, PART, f"files/{n}"), range(12)))
        found = list(pool.map(lambda n: executor.get(f"files/{n}", PART), range(12)))
    assert set(found) == {large.read_bytes()}
    assert executor._session is not None
    return executor._session.link.connections


def test_a_near_link_keeps_to_one_file_server_however_slow(
    executor: SSHExecutor, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(link, "SLOW_BYTES_PER_SECOND", 1e15)
    assert executor._session is not None
    executor._session.link.round_trip = 0.001
    assert connections_used(executor, large) == 1
    assert executor._session.link._open == 1


def test_a_far_link_that_is_fast_gets_another_file_server_over_the_same_connection(
    executor: SSHExecutor, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(link, "SLOW_BYTES_PER_SECOND", 0.0)
    assert executor._session is not None
    executor._session.link.round_trip = 0.2
    assert connections_used(executor, large) == 1
    assert executor._session.link._open == link.MOST_FAR


def test_a_far_and_slow_link_takes_more_connections(
    executor: SSHExecutor, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(link, "SLOW_BYTES_PER_SECOND", 1e15)
    assert executor._session is not None
    executor._session.link.round_trip = 0.2
    assert 2 <= connections_used(executor, large) <= link.MOST_SLOW


def test_more_connections_that_are_refused_do_no_harm(
    executor: SSHExecutor, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> object:
        raise Refused("no more")

    monkeypatch.setattr(link, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(link, "SLOW_BYTES_PER_SECOND", 1e15)
    assert executor._session is not None
    monkeypatch.setattr(executor._session.link, "_another", refuse)
    executor._session.link.round_trip = 0.2
    assert connections_used(executor, large) == 1


def test_one_of_several_connections_that_breaks_costs_one_part(executor: SSHExecutor, server: Server) -> None:
    assert executor._session is not None
    shared = executor._session.link
    with shared.server() as file_server:
        file_server.stream.close()
    with pytest.raises(TransferFailed, match="box: its file server ended"):
        executor.get("files/absent", PART)
    assert executor.run(["true"]).status == 0
    with pytest.raises(NoSuchFile):
        executor.get("files/absent", PART)


MEMORY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from executors.base import PART_BYTES, Span
from executors.ssh import SSHExecutor

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

source, options = Path(sys.argv[1]), dict(zip(sys.argv[2::2], sys.argv[3::2]))
with SSHExecutor("box", options) as executor:
    executor.put(source, Span(0, 1), "files/0")
    executor.get("files/0", Span(0, 1))
    before = peak()
    with ThreadPoolExecutor(executor.streams) as pool:
        list(pool.map(lambda n: executor.put(source, Span(n * PART_BYTES, PART_BYTES), f"files/{n % 8}"), range(38)))
        pieces = [Span(offset, PART_BYTES // 4) for offset in range(0, PART_BYTES, PART_BYTES // 4)] * 38
        sizes = pool.map(lambda piece: len(executor.get("files/0", piece)), pieces)
        assert set(sizes) == {PART_BYTES // 4}
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_stays_flat_however_large_the_file(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(38 * PART_BYTES)  # 304 MiB
    words = [word for pair in server.options().items() for word in pair]
    done = subprocess.run([sys.executable, "-c", MEMORY, str(source), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 64 * 2**20


def test_a_target_that_falls_silent_is_not_waited_for_as_long_as_a_command_may_take(server: Server) -> None:
    with SSHExecutor("box", server.options(silence=10)) as executor:
        server.pause()
        with pytest.raises(Lost, match=r"does not answer any more|Timeout opening channel"):
            executor.run(["true"], timeout=3600)
    server.kill()
