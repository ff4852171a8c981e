"""Files over SSH: any sshd will do, a file server of ours that ends or lies harms nobody, and waiting is in turn."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import psutil
import pytest
import vermin

from executors.base import (
    PART_BYTES,
    Executor,
    ExecutorError,
    Lost,
    NoSpace,
    NoSuchFile,
    Span,
    TransferFailed,
    Unreachable,
)
from executors.ssh import SSHExecutor, command, files, link
from executors.ssh.link import Link
from tests.executors.sshd import Server, needs_sshd, running, sshd
from tests.executors.test_local import tmpfs

pytestmark = needs_sshd

PART = Span(0, PART_BYTES)
SMALL = Span(0, 10)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def server(module_server: Server) -> Server:
    """A server on which no file server of an earlier test is left."""
    until(lambda: not file_servers(module_server))
    return module_server


@pytest.fixture
def executor(server: Server) -> Iterator[SSHExecutor]:
    with SSHExecutor("box", server.options()) as executor:
        yield executor


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(PART_BYTES))
    return path


def link_of(executor: SSHExecutor) -> Link:
    assert executor._session is not None
    return executor._session.link


def file_servers(server: Server) -> list[psutil.Process]:
    """The file servers that run on the server's machine."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if files.SERVER in said(child) and "python" in said(child)[0]]


def said(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.NoSuchProcess:
        return [""]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def carries_files(executor: Executor, source: Path) -> None:
    executor.put(source, PART, "files/a")
    executor.put(source, SMALL, "files/a")
    assert executor.get("files/a", PART) == source.read_bytes()[:10]


def test_an_sshd_without_sftp_will_do(tmp_path: Path, source: Path) -> None:
    server = Server(tmp_path / "sshd", sftp="/bin/false")
    with running(server), SSHExecutor("box", server.options()) as executor:
        carries_files(executor, source)


def test_login_files_that_print_do_not_get_into_files(tmp_path: Path, source: Path) -> None:
    with sshd(tmp_path) as server:
        (server.home / ".bashrc").write_text("echo 0; printf 'welcome, no newline'; echo careful >&2\n")
        with SSHExecutor("box", server.options()) as executor:
            carries_files(executor, source)


def test_files_are_for_their_owner_alone(server: Server, executor: SSHExecutor, source: Path) -> None:
    executor.put(source, SMALL, "private/deep/er/a")
    root = server.folder / "root"
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in ("private", "private/deep/er", "private/deep/er/a")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_refusal_costs_no_file_server(
    server: Server, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tmpfs(tmp_path) as root:
        url = f"ssh://127.0.0.1:{server.port}{root}"
        with SSHExecutor("box", server.options(url=url)) as executor:
            monkeypatch.setattr(files, "start", lambda *_: pytest.fail("another was started"))
            executor.put(source, SMALL, "file")
            with pytest.raises(NoSpace):
                executor.put(source, PART, "large")
            with pytest.raises(NoSuchFile):
                executor.get("large", SMALL)
            with pytest.raises(TransferFailed, match=r"could not be written: (ENOTDIR|EEXIST)"):
                executor.put(source, SMALL, "file/below")
            with pytest.raises(TransferFailed, match="could not be read: EISDIR"):
                executor.run(["mkdir", "folder"])
                executor.get("folder", SMALL)
            assert executor.get("file", SMALL) == source.read_bytes()[:10]
        assert sorted(path.name for path in root.iterdir()) == ["file", "folder"]


def test_a_root_that_is_deleted_under_us_is_made_again(tmp_path: Path, source: Path) -> None:
    with sshd(tmp_path) as server, SSHExecutor("box", server.options()) as executor:
        (server.folder / "root").rmdir()
        carries_files(executor, source)


# A file server that ends


def test_one_killed_between_two_calls_is_replaced(server: Server, executor: SSHExecutor, source: Path) -> None:
    executor.put(source, SMALL, "files/a")
    for process in file_servers(server):
        process.kill()
    with pytest.raises(TransferFailed, match=r"^box: its file server ended(: .*[Kk]illed.*)?$"):
        executor.get("files/a", SMALL)
    assert executor.get("files/a", SMALL) == source.read_bytes()[:10]
    assert executor.run(["true"]).status == 0


def test_one_killed_in_the_middle_of_a_put_is_replaced(
    server: Server, executor: SSHExecutor, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = []
    read = files.read_part

    def kill_half_way(path: Path, span: Span) -> bytes:
        if span.offset >= PART_BYTES // 2 and not killed:
            killed.extend(file_servers(server))
            for process in killed:
                process.kill()
        return read(path, span)

    monkeypatch.setattr(files, "read_part", kill_half_way)
    with pytest.raises(TransferFailed, match="its file server ended"):
        executor.put(source, PART, "files/killed")
    with pytest.raises(NoSuchFile):
        executor.get("files/killed", SMALL)
    executor.put(source, PART, "files/killed")
    assert executor.get("files/killed", PART) == source.read_bytes()
    assert len(killed) == 1


def test_it_ends_with_its_connection(server: Server) -> None:
    with SSHExecutor("box", server.options()):
        (process,) = file_servers(server)
    until(lambda: process not in file_servers(server))


def test_a_put_cut_short_leaves_no_draft(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sshd(tmp_path) as server, SSHExecutor("box", server.options()) as executor:
        folder, read = server.folder / "root/files", files.read_part

        def cut(path: Path, span: Span) -> bytes:
            if span.offset >= PART_BYTES // 2 and server.process.poll() is None:
                until(lambda: list(folder.glob("*.tmp")))
                server.kill()
            return read(path, span)

        monkeypatch.setattr(files, "read_part", cut)
        with pytest.raises(Lost):
            executor.put(source, PART, "files/cut")
        until(lambda: not list(folder.iterdir()))


# A file server that lies


GREETING = "import json, os, sys, time\nprint(sys.argv[1] + json.dumps([os.getcwd(), sys.executable]), flush=True)\n"
LIES = {
    "print('hello', flush=True); time.sleep(60)": (TransferFailed, "answers what nobody asked"),
    "print('-1', flush=True); time.sleep(60)": (TransferFailed, "answers what nobody asked"),
    "print('E\\033[2J', flush=True); time.sleep(60)": (TransferFailed, "answers what nobody asked"),
    "print('7' * 10**6, flush=True); time.sleep(60)": (TransferFailed, "answers what nobody asked"),
    "print('10\\n' + 'x' * 20, flush=True); time.sleep(60)": (TransferFailed, "more than it was asked"),
    "print('9000000000', flush=True); time.sleep(60)": (TransferFailed, "more than it was asked"),
    "print('10\\n' + 'x' * 5, flush=True)": (TransferFailed, "^box: its file server ended$"),
    "sys.exit('no more')": (TransferFailed, "^box: its file server ended: no more$"),
    "print('10\\n' + 'x' * 5, flush=True); time.sleep(600)": (Lost, "does not answer any more"),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_that_lies_is_a_failed_transfer(server: Server, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SERVER", f"{GREETING}sys.stdin.readline()\n{lie}")
    kind, words = LIES[lie]
    options = server.options(silence=10 if kind is Lost else 60)
    with SSHExecutor("box", options) as executor, pytest.raises(ExecutorError, match=words) as raised:
        executor.get("files/a", SMALL)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print(sys.argv[1] + 'hello', flush=True)", "it greets in words nobody knows"),
        ("print(sys.argv[1] + '[]', flush=True)", "it greets in words nobody knows"),
        ("print('x' * 10**6, flush=True); time.sleep(60)", "its login files print too much"),
        ("sys.exit('not today')", "not today"),
        ("os.kill(os.getppid(), 9)", "hung up"),
    ],
)
def test_one_that_does_not_start_well_is_unreachable(
    server: Server, script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SERVER", f"import os, sys, time\n{script}")
    with pytest.raises(Unreachable, match=f"^box: .*{words}"):
        SSHExecutor("box", server.options()).__enter__()


# Threads


def test_who_waits_longest_is_next(executor: SSHExecutor) -> None:
    shared, order = link_of(executor), []

    def use(name: str) -> None:
        with shared.server():
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with shared.server():
            futures = []
            for number, name in enumerate(("first", "second"), 1):
                futures.append(pool.submit(use, name))
                until(lambda number=number: len(shared._line) == number)  # type: ignore[misc]
        use("last")
        for future in futures:
            future.result()
    assert order == ["first", "second", "last"]


def use(shared: Link) -> None:
    with shared.server():
        pass


def far_and_slow(executor: SSHExecutor, monkeypatch: pytest.MonkeyPatch) -> Link:
    shared = link_of(executor)
    monkeypatch.setattr(link, "SLOW_BYTES_PER_SECOND", 1e15)
    shared.round_trip = 0.2
    shared.observe(PART_BYTES, 1.0)
    return shared


def test_a_connection_that_starts_no_file_server_is_closed(
    executor: SSHExecutor, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, before = far_and_slow(executor, monkeypatch), len(server.sessions())

    def fail(*_: object) -> files.FileServer:
        raise files.NotStarted("box", 1, "")

    monkeypatch.setattr(files, "start", fail)
    with ThreadPoolExecutor(1) as pool, shared.server():
        waiting = pool.submit(use, shared)
        until(lambda: shared._most == 1)
    waiting.result(60)
    until(lambda: len(server.sessions()) <= before)


def test_a_connection_made_while_the_link_is_closed_does_not_stay(
    executor: SSHExecutor, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, closed = far_and_slow(executor, monkeypatch), threading.Event()
    connect = shared._another

    def slowly() -> object:
        carrier = connect()
        assert closed.wait(60)
        return carrier

    monkeypatch.setattr(shared, "_another", slowly)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ExecutorError), shared.server():
        late = pool.submit(use, shared)
        until(lambda: shared._open == 2)
        shared.close()
        closed.set()
        raise EOFError
    assert isinstance(late.exception(60), ExecutorError)
    until(lambda: not server.sessions())


@pytest.mark.parametrize("who", ["client", "server"])
def test_keys_exchanged_while_commands_end_harm_nobody(
    tmp_path: Path, source: Path, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each side would exchange keys after a few megabytes; paramiko's default is 512, so that large files meet it."""
    if who == "client":
        monkeypatch.setattr(paramiko.packet.Packetizer, "REKEY_BYTES", 4 * 10**6)
    more = "RekeyLimit 4M" if who == "server" else ""
    server = Server(tmp_path / "sshd", more=more)
    with running(server), SSHExecutor("box", server.options()) as executor, ThreadPoolExecutor(3) as pool:
        executor.put(source, PART, "files/a")
        commands = [pool.submit(executor.run, ["true"]) for _ in range(90)]
        found = {executor.get("files/a", PART) for _ in range(12)}
        assert {done.result().status for done in commands} == {0}
    assert found == {source.read_bytes()}


def test_a_command_does_not_end_before_its_input() -> None:
    """Or paramiko may send on a channel that is gone, and sshd then hangs up the connection."""
    words = ["sh", "-c", command.line("echo out; exit 3")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.read() == b"out\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.write(bytes(10**6))
        process.stdin.close()
        assert process.wait(60) == 3


# The script itself

SCRIPT = Path(files.__file__).with_name("fileserver.py")


def test_the_file_server_needs_no_more_than_python_3_8() -> None:
    versions = vermin.visit(SCRIPT.read_text(), vermin.Config()).minimum_versions()
    assert (versions[1] or (0, 0)) <= (3, 8)


def test_the_file_server_imports_the_standard_library_alone() -> None:
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names
