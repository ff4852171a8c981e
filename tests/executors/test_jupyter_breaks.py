"""Connections, kernels and servers that break, hang or are killed: told by name, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from executors.base import PART_BYTES, Completed, Lost, NoSuchFile, Span, TransferFailed, read_part
from executors.jupyter import JupyterExecutor, contents, kernel
from tests.executors.jupyter_front import HANG_UP, Front, Reply, Request, front
from tests.executors.jupyter_server import Server, jupyter, living_children

PART = Span(0, PART_BYTES)
COMES_TO_IT = 60.0

WAIT = """
import os, sys, time
with open("runs", "a") as runs:
    print("here", file=runs, flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
print("done")
"""


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyter(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture
def server(module_server: Server) -> Iterator[Server]:
    """A server that a test may kill."""
    for name in ("runs", "go"):
        (module_server.root / name).unlink(missing_ok=True)
    module_server.rest()
    yield module_server
    if module_server.process.poll() is not None:
        module_server.start()


@pytest.fixture
def way(server: Server) -> Iterator[Front]:
    with front(server) as standing:
        yield standing


@pytest.fixture
def executor(server: Server) -> Iterator[JupyterExecutor]:
    with JupyterExecutor("jup", server.options()) as executor:
        yield executor


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(PART_BYTES))
    return path


def wait_for(sign: Callable[[], object]) -> None:
    deadline = time.monotonic() + COMES_TO_IT
    while not sign():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def while_it_waits(server: Server, executor: JupyterExecutor, then: Callable[[], object]) -> bytes:
    """Run a command that waits, do something in the middle of it, let it go on; returns what it says."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(executor.run, [executor.python, "-c", WAIT])
        try:
            wait_for((server.root / "runs").exists)
            then()
        finally:
            (server.root / "go").touch()
        return future.result(COMES_TO_IT).stdout


def test_a_websocket_dropped_in_the_middle_of_a_command_costs_nothing(way: Front) -> None:
    with JupyterExecutor("jup", way.options()) as executor:
        assert while_it_waits(way.server, executor, way.cut) == b"done\n"
        assert (way.server.root / "runs").read_text() == "here\n"
        assert len([request for request in way.seen if request.upgrades]) == 2


def test_a_websocket_dropped_again_and_again_loses_no_command_and_runs_none_twice(way: Front) -> None:
    with JupyterExecutor("jup", way.options()) as executor, ThreadPoolExecutor(4) as pool:
        script = 'printf %s "$1" >> "files-$1"; echo "$1"'
        futures: list[Future[Completed]] = []
        for first in range(0, 24, 4):
            numbers = map(str, range(first, first + 4))
            futures += [pool.submit(executor.run, ["sh", "-c", script, "sh", number]) for number in numbers]
            futures[first].result(COMES_TO_IT)  # over the connection that there is now
            way.cut()
        said = [future.result(COMES_TO_IT).stdout for future in futures]
    assert said == [f"{number}\n".encode() for number in range(24)]
    assert [(way.server.root / f"files-{number}").read_text() for number in range(24)] == list(map(str, range(24)))


def test_an_answer_that_is_made_while_nobody_is_connected_arrives(way: Front) -> None:
    with JupyterExecutor("jup", way.options(connect_timeout=COMES_TO_IT)) as executor:
        may_connect: list[bool] = []

        def until_it_is_done(request: Request) -> None:
            if request.upgrades:
                wait_for(lambda: may_connect)

        def go_on_alone() -> None:
            way.rule = until_it_is_done
            way.cut()
            (way.server.root / "go").touch()
            wait_for(lambda: not commands(way.server))
            may_connect.append(True)

        assert while_it_waits(way.server, executor, go_on_alone) == b"done\n"
        assert (way.server.root / "runs").read_text() == "here\n"


def commands(server: Server) -> list[psutil.Process]:
    return [child for kernel in server.kernels() for child in living_children(kernel)]


def test_a_kernel_that_dies_is_lost_and_the_next_visit_has_another(server: Server, executor: JupyterExecutor) -> None:
    with pytest.raises(Lost, match=r"jup: its kernel (died|was restarted|is gone)"):
        while_it_waits(server, executor, lambda: [process.kill() for process in server.kernels()])
    with pytest.raises(Lost, match="its kernel"):
        executor.run(["true"])
    executor.__exit__(None, None, None)
    executor.__enter__()
    assert executor.run(["echo", "here"]).stdout == b"here\n"
    assert (server.root / "runs").read_text() == "here\n"
    server.kill()  # with the kernel that it starts in the place of the dead one, for nobody


def test_killed_in_the_middle_of_a_command(server: Server, executor: JupyterExecutor) -> None:
    with pytest.raises(Lost, match="jup: "):
        while_it_waits(server, executor, server.kill)
    with pytest.raises(Lost):
        executor.run(["true"])


def test_killed_in_the_middle_of_a_put(
    server: Server, executor: JupyterExecutor, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_half_way(source: Path, span: Span) -> bytes:
        if span.offset >= PART_BYTES // 2 and server.process.poll() is None:
            server.kill()
        return read_part(source, span)

    monkeypatch.setattr(contents, "read_part", kill_half_way)
    with pytest.raises(Lost, match="jup: "):
        executor.put(large, PART, "files/half")
    with pytest.raises(Lost, match="jup: no connection"):
        executor.get("files/half", PART)
    server.start()
    with JupyterExecutor("jup", server.options()) as again, pytest.raises(NoSuchFile):
        again.get("files/half", PART)


def test_killed_in_the_middle_of_a_get(server: Server, executor: JupyterExecutor, large: Path) -> None:
    executor.put(large, PART, "files/whole")
    server.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(executor.get, "files/whole", PART)
        wait_for(future.running)
        time.sleep(0.3)
        server.kill()
        assert isinstance(future.exception(COMES_TO_IT), Lost)


def test_a_server_that_hangs_is_lost_after_its_silence(server: Server, large: Path) -> None:
    with JupyterExecutor("jup", server.options()) as patient:
        patient.put(large, PART, "files/whole")
    with JupyterExecutor("jup", server.options(silence=10, connect_timeout=10)) as executor:
        server.process.send_signal(signal.SIGSTOP)
        try:
            for call in (lambda: executor.get("files/whole", PART), lambda: executor.run(["true"])):
                with pytest.raises(Lost, match="jup: "):
                    call()
        finally:
            server.kill()


def test_a_transfer_that_breaks_is_tried_again_by_whoever_wants_it(way: Front, large: Path) -> None:
    with JupyterExecutor("jup", way.options()) as executor:
        for method, path in (("PUT", "/api/contents/"), ("GET", "/files/")):
            failing = [True]

            def break_once(request: Request, start: str = method + path, failing: list[bool] = failing) -> Reply | None:
                hit = (request.method + request.path).startswith(start)
                return HANG_UP if hit and failing and failing.pop() else None

            way.rule = break_once
            for _ in range(2):
                try:
                    executor.put(large, PART, "files/broken")
                    assert executor.get("files/broken", PART) == large.read_bytes()
                except TransferFailed as error:
                    assert "a transfer broke" in str(error)
                    assert not failing
            assert not failing


def test_nothing_is_left_in_the_drafts(server: Server, executor: JupyterExecutor, large: Path) -> None:
    drafts = server.root / "drafts"
    before = set(drafts.iterdir())  # of transfers that the tests before this one broke
    executor.put(large, PART, "files/whole")
    with pytest.raises(TransferFailed):
        executor.put(large, PART, "files/whole/below")
    large.write_bytes(b"shrunk")
    with pytest.raises(TransferFailed):
        executor.put(large, PART, "files/whole")
    executor.run(["true"])
    wait_for(lambda: set(drafts.iterdir()) <= before)


def test_what_a_killed_client_left_is_tidied_by_the_next(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    left = JupyterExecutor("jup", server.options())
    left.__enter__()
    monkeypatch.setattr(kernel.Kernel, "_end", lambda self: None)
    left.__exit__(None, None, None)
    monkeypatch.undo()
    old = server.root / "drafts/old"
    old.touch()
    os.utime(old, (0, 0))
    with JupyterExecutor("jup", server.options()):
        assert len(server.kernels()) == 2  # it could be somebody who is about to connect again
        assert not old.exists()
    monkeypatch.setattr(kernel, "LEFT_SECONDS", -3600.0)
    with JupyterExecutor("jup", server.options()), JupyterExecutor("jup", server.options()):
        wait_for(lambda: len(server.kernels()) == 2)  # and none whose client is connected
    server.rest()


def test_the_kernel_ends_with_the_visit(server: Server) -> None:
    with JupyterExecutor("jup", server.options()) as executor:
        assert executor.run(["echo", "here"]).stdout == b"here\n"
        assert len(server.kernels()) == 1
    server.rest()


def test_a_command_does_not_draw_for_a_notebook(executor: JupyterExecutor) -> None:
    names = "MPLBACKEND|FORCE_COLOR|CLICOLOR.*|JPY_PARENT_PID|JPY_SESSION_NAME"
    assert executor.run(["sh", "-c", f"env | grep -E '^({names})='"]).stdout == b""


def test_the_root_is_for_its_owner_alone(server: Server, executor: JupyterExecutor) -> None:
    assert server.root.stat().st_mode & 0o777 == 0o700


def test_a_root_that_is_deleted_under_us_is_a_lost_target(server: Server) -> None:
    with JupyterExecutor("jup", server.options(root="other")) as executor:
        executor.run(["rm", "-r", str(server.files / "other")])
        with pytest.raises(Lost, match=r"commands cannot be started there: .*other"):
            executor.run(["true"])
