"""Servers and proxies that offer less: no chunks, no ranges, no `/files`, small requests. All works, if slower."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest
import vermin

from executors.base import PART_BYTES, Executor, NoSpace, Refused, Span, TransferFailed, Unreachable
from executors.jupyter import JupyterExecutor, kernel
from tests.executors.conformance.files import Files
from tests.executors.jupyter_front import Front, Reply, Request, front
from tests.executors.jupyter_server import Server, jupyter
from tests.executors.test_local import tmpfs

SPAN = Span(0, 1_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyter(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture
def way(server: Server) -> Iterator[Front]:
    with front(server) as standing:
        yield standing


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(1_000_000))
    return path


def no_chunks(request: Request) -> None:
    request.body = re.sub(rb'"chunk"(?=: -?\d+, "content")', b'"chonk"', request.body[:100]) + request.body[100:]


def no_files(request: Request) -> Reply | None:
    return Reply(404, b"<html>no</html>") if request.path.startswith("/files/") else None


def no_ranges(request: Request) -> None:
    request.headers.pop("Range", None)


def small_requests(request: Request) -> Reply | None:
    return Reply(413, b"too large") if len(request.body) > 300_000 else None


class TestPoorServer(Files):
    """One that has the least that a target needs."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, server: Server) -> Iterator[Executor]:
        def poor(request: Request) -> Reply | None:
            no_chunks(request)
            return no_files(request)

        with front(server) as way:
            way.rule = poor
            with JupyterExecutor("jup", way.options()) as executor:
                yield executor
            assert any(b'"chonk"' in request.body[:100] for request in way.seen)
            assert any(request.path.startswith("/files/") for request in way.seen)


def test_a_server_that_knows_no_ranges_is_asked_for_whole_files_no_larger_than_wanted(way: Front, source: Path) -> None:
    way.rule = no_ranges
    with JupyterExecutor("jup", way.options()) as executor:
        executor.put(source, SPAN, "files/x")
        assert executor.get("files/x", Span(900_000, 200_000)) == source.read_bytes()[900_000:]
        assert not [request for request in way.seen if request.path == "/files/offload-root/files/x"]


def test_a_proxy_of_small_requests_is_sent_small_chunks(way: Front, source: Path) -> None:
    with JupyterExecutor("jup", way.options()) as executor:
        way.rule = small_requests
        for name in ("files/a", "files/b"):
            before = len(way.seen)
            executor.put(source, SPAN, name)
            assert executor.get(name, SPAN) == source.read_bytes()
        second = [request for request in way.seen[before:] if request.method == "PUT"]
        assert max(len(request.body) for request in second) <= 300_000  # it has learnt
        assert len(second) < 20


def test_a_proxy_of_small_requests_before_a_server_without_chunks_is_told(way: Front, source: Path) -> None:
    way.rule = no_chunks
    with JupyterExecutor("jup", way.options()) as executor:
        way.rule = small_requests
        with pytest.raises(TransferFailed, match="413"):
            executor.put(source, SPAN, "files/x")


def test_a_large_part_is_one_request(way: Front, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(PART_BYTES))
    with JupyterExecutor("jup", way.options()) as executor:
        before = len(way.seen)
        executor.put(large, Span(0, PART_BYTES), "files/large")
        assert executor.get("files/large", Span(0, PART_BYTES)) == large.read_bytes()
        assert [request.method for request in way.seen[before:]] == ["PUT", "GET"]


def test_a_full_disk_is_told_by_a_server_that_hides_it(way: Front, tmp_path: Path) -> None:
    folder = way.server.files / f"small-{token_hex(4)}"
    folder.mkdir()
    large = tmp_path / "large"
    large.write_bytes(bytes(6 * 2**20))
    way.rule = no_chunks
    with tmpfs(folder) as root:
        options = way.options(root=root.relative_to(way.server.files))
        with JupyterExecutor("jup", options) as executor, pytest.raises(NoSpace):
            executor.put(large, Span(0, 6 * 2**20), "files/new")


def test_kernels_that_see_other_files_are_told(way: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "HELPER", kernel.HELPER.replace('order["root"] / order["draft"]', '"elsewhere"'))
    with pytest.raises(Refused, match="jup: its kernels do not see the files that it serves"):
        JupyterExecutor("jup", way.options()).__enter__()
    way.server.rest()


def test_a_server_whose_files_cannot_be_written_is_told(way: Front) -> None:
    said = b'{"message": "Permission denied: offload-root"}'
    way.rule = lambda request: Reply(500, said, "application/json") if request.method == "PUT" else None
    with pytest.raises(Unreachable, match="jup: offload-root cannot be used there: 500 Permission denied") as caught:
        JupyterExecutor("jup", way.options()).__enter__()
    assert caught.value.step == "files"


def test_a_server_without_a_kernel_for_python_is_told(way: Front) -> None:
    specs = b'{"default": "ir", "kernelspecs": {"ir": {"spec": {"language": "R"}}}}'
    way.rule = lambda request: Reply(200, specs) if request.path == "/api/kernelspecs" else None
    with pytest.raises(Unreachable, match="jup: it has no kernel for Python") as caught:
        JupyterExecutor("jup", way.options()).__enter__()
    assert caught.value.step == "kernel"


def test_a_kernel_for_python_is_taken_whatever_the_default(way: Front) -> None:
    python = b'"python3": {"spec": {"language": "python"}}'
    specs = b'{"default": "ir", "kernelspecs": {"ir": {"spec": {"language": "R"}}, %s}}' % python
    way.rule = lambda request: Reply(200, specs) if request.path == "/api/kernelspecs" else None
    with JupyterExecutor("jup", way.options()) as executor:
        assert executor.run(["echo", "here"]).stdout == b"here\n"


def test_the_helper_runs_on_any_python_the_runner_runs_on() -> None:
    versions = vermin.visit(kernel.HELPER, vermin.Config()).minimum_versions()
    assert versions[1] is not None
    assert versions[1] <= (3, 8)
