"""Who is let in, and by whom: tokens, login pages, proxies and programs that are no Jupyter server."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executors.base import ExecutorError, Refused, Span, TransferFailed, Unreachable
from executors.jupyter import JupyterExecutor
from executors.jupyter.address import Address
from tests.executors.jupyter_front import HANG_UP, Front, Reply, Request, Rule, certificate, front
from tests.executors.jupyter_server import Server, jupyter
from tests.executors.sshd import free_port

PAGE = Reply(200, b"<html>Please log in</html>")
SPAN = Span(0, 100)


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
    path.write_bytes(os.urandom(100))
    return path


def failure(options: dict[str, str]) -> ExecutorError:
    """What entering fails with; a look must say the same."""
    executor = JupyterExecutor("jup", options)
    with pytest.raises(ExecutorError) as caught:
        executor.__enter__()
    return caught.value


def failure_and_look(options: dict[str, str]) -> ExecutorError:
    error = failure(options)
    probe = JupyterExecutor("jup", options).probe(60.0)
    assert not probe.reachable
    assert (f"jup: {probe.reason}", probe.step, probe.hint) == (str(error), error.step, error.hint)
    assert probe.exit_code == error.exit_code
    assert error.step == "configuration" or error.step in probe.steps
    return error


def token_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "a token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_wrong_token_is_refused_and_said(server: Server, tmp_path: Path) -> None:
    error = failure_and_look(server.options(token_file=token_file(tmp_path, b"wrong\n")))
    assert (type(error), error.exit_code, error.step) == (Refused, 7, "login")
    assert "the server does not take our token" in str(error)
    assert "token_file" in error.hint
    assert "wrong\n" not in str(error)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_token_that_others_can_read_is_not_used(server: Server, tmp_path: Path, mode: int) -> None:
    path = token_file(tmp_path, server.token.encode(), mode)
    error = failure_and_look(server.options(token_file=path))
    assert (type(error), error.exit_code) == (Refused, 7)
    assert "can be read by others" in str(error)
    subprocess.run(shlex.split(error.hint), check=True)
    assert JupyterExecutor("jup", server.options(token_file=path)).probe(60.0).reachable


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", b"a\x00b", b"one\ntwo"])
def test_what_is_no_token_is_not_sent(server: Server, tmp_path: Path, content: bytes) -> None:
    error = failure_and_look(server.options(token_file=token_file(tmp_path, content)))
    assert isinstance(error, Refused)
    assert "token" in str(error)


def test_a_token_file_that_is_not_there_is_named_with_the_command_that_makes_it(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "none here"
    error = failure_and_look(server.options(token_file=path))
    assert f"{path} cannot be read: No such file" in str(error)
    subprocess.run(shlex.split(error.hint), input=server.token.encode(), check=True)
    assert JupyterExecutor("jup", server.options(token_file=path)).probe(60.0).reachable


@pytest.mark.parametrize(
    "url",
    [
        "jupyter+http://box:8888/?token=secret",
        "jupyter+http://box/#secret",
        "jupyter+http://:secret@box/",
        "jupyter+http://me:secret@box/",
    ],
)
def test_a_token_in_a_url_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="a url must hold no token or password") as caught:
        Address.of("jup", {"url": url, "token_file": str(tmp_path)})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"url": "jupyter+ftp://box/"}, "names no Jupyter server"),
        ({"url": "jupyter+http:///lab"}, "names no Jupyter server"),
        ({"url": "jupyter+http://box:port/"}, "cannot be read"),
        ({"token_file": ""}, "needs token_file"),
        ({"root": ".hidden"}, "not a hidden one"),
        ({"root": "../up"}, "cannot be its root"),
        ({"silence": "soon"}, "silence is a number of seconds"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        Address.of("jup", {"url": "jupyter+http://box/", "token_file": "token", **options})


def test_urls() -> None:
    urls = {"jupyter+http://box": "http://box/", "jupyter+https://[::1]:1/user/me/": "https://[::1]:1/user/me/"}
    for url, place in urls.items():
        assert Address.of("jup", {"url": url, "token_file": "token"}).url == place


def login_page(request: Request) -> Reply | None:
    return Reply(302, location="/hub/login?next=%2Fhub%2F")


def elsewhere(request: Request) -> Reply | None:
    return Reply(301, location="https://elsewhere.example/")


NO_JUPYTER: dict[str, tuple[Rule, type[ExecutorError], str]] = {
    "login page": (login_page, Refused, "sends us to its login page"),
    "elsewhere": (elsewhere, Refused, "sends us on to 'https://elsewhere.example/'"),
    "page": (
        lambda request: PAGE,
        Unreachable,
        "is not a Jupyter server's url: it answers GET api/kernels with a page",
    ),
    "no such page": (lambda request: Reply(404, b"gone"), Unreachable, "is not a Jupyter server's url: it answers 404"),
    "other JSON": (lambda request: Reply(200, b"{}"), Unreachable, "speaks of no kernels"),
    "sleeping": (lambda request: Reply(424, b"{}"), Unreachable, "no Jupyter server is running behind"),
    "bad gateway": (lambda request: Reply(502), Unreachable, "no Jupyter server is running behind"),
    "hangs up": (lambda request: HANG_UP, ExecutorError, "broke"),
}


@pytest.mark.parametrize("case", NO_JUPYTER)
def test_what_is_no_server_is_a_sentence(way: Front, case: str) -> None:
    way.rule, kind, reason = NO_JUPYTER[case]
    error = failure_and_look(way.options())
    assert isinstance(error, kind)
    assert reason in str(error)


def no_websockets(request: Request) -> Reply | None:
    return Reply(400) if request.upgrades else None


def test_a_proxy_that_breaks_websockets_is_named_and_no_kernel_is_left(way: Front) -> None:
    way.rule = no_websockets
    error = failure(way.options())
    assert (type(error), error.exit_code, error.step) == (Refused, 7, "websocket")
    assert "does not let websockets through: it answers 400" in str(error)
    assert "NO_PROXY" in error.hint
    way.server.rest()


def test_a_proxy_that_cuts_each_websocket_is_named(way: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "tunnel", lambda request, near: None)
    error = failure(way.options())
    assert isinstance(error, Refused)
    assert error.step == "websocket"


def test_a_token_that_expires_is_refused_wherever_it_is_noticed(way: Front, source: Path) -> None:
    for answer in (Reply(403, b"{}"), Reply(302, location="/login")):
        with JupyterExecutor("jup", way.options()) as executor:
            executor.put(source, SPAN, "files/x")
            way.rule = lambda request, answer=answer: answer
            calls: list[Callable[[], object]] = [
                lambda: executor.put(source, SPAN, "files/x"),
                lambda: executor.get("files/x", SPAN),
            ]
            for call in calls:
                with pytest.raises(Refused, match="wrong or has expired"):
                    call()
            way.rule = lambda request: None


def test_a_token_renewed_in_its_file_is_taken_up_in_the_middle(way: Front, source: Path, tmp_path: Path) -> None:
    path = token_file(tmp_path, b"first")
    valid = ["first"]

    def ask_for(request: Request) -> Reply | None:
        if request.headers["Authorization"] != f"token {valid[0]}":
            return Reply(403, b"{}")
        request.headers["Authorization"] = f"token {way.server.token}"
        return None

    way.rule = ask_for
    with JupyterExecutor("jup", way.options(token_file=path)) as executor:
        executor.put(source, SPAN, "files/renewed")
        valid[0] = "second"
        with pytest.raises(Refused):
            executor.put(source, SPAN, "files/renewed")
        token_file(tmp_path, b"second")
        executor.put(source, SPAN, "files/renewed")
        way.cut()  # the websocket, too, is made anew with it
        assert executor.run(["echo", "here"]).stdout == b"here\n"
        valid[0] = "third"
        token_file(tmp_path, b"third")
        assert executor.get("files/renewed", SPAN) == source.read_bytes()


def test_a_page_in_the_place_of_a_file_is_no_file(way: Front, source: Path) -> None:
    with JupyterExecutor("jup", way.options()) as executor:
        executor.put(source, SPAN, "files/page")
        for page in (PAGE, Reply(206, PAGE.body), Reply(203, PAGE.body, "video/mp4")):
            way.rule = lambda request, page=page: page if request.path.startswith("/files/") else None
            with pytest.raises(TransferFailed, match="instead of files/page came"):
                executor.get("files/page", SPAN)


def test_the_token_is_in_no_log(way: Front, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), JupyterExecutor("jup", way.options()) as executor:
        executor.put(source, SPAN, "files/x")
        executor.run(["true"])
        way.cut()
        executor.run(["true"])
    assert caplog.records
    assert way.server.token not in caplog.text
    assert way.server.token not in way.server.said()


def test_a_certificate_is_trusted_when_its_file_is_named(server: Server, source: Path, tmp_path: Path) -> None:
    public, context = certificate(tmp_path)
    with front(server, context) as way:
        error = failure_and_look(way.options())
        assert (type(error), error.exit_code, error.step) == (Refused, 7, "TLS")
        assert "option ca" in error.hint
        with JupyterExecutor("jup", way.options(ca=public)) as executor:
            executor.put(source, SPAN, "files/x")
            assert executor.run(["echo", "here"]).stdout == b"here\n"


def test_a_server_without_tls_is_told_from_one_with_it(way: Front) -> None:
    error = failure_and_look(way.options(url=f"jupyter+https://127.0.0.1:{way.port}/"))
    assert (type(error), error.step) == (Refused, "TLS")
    assert "jupyter+http://" in error.hint


def test_nobody_there_is_unreachable(server: Server) -> None:
    error = failure_and_look(server.options(url=f"jupyter+http://127.0.0.1:{free_port()}/"))
    assert (type(error), error.step) == (Unreachable, "TCP")
    assert "connection refused" in str(error)
    error = failure_and_look(server.options(url="jupyter+http://no-such-host.invalid/"))
    assert (type(error), error.step) == (Unreachable, "name")


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{free_port()}")
    with JupyterExecutor("jup", server.options()) as executor:
        assert executor.run(["echo", "here"]).stdout == b"here\n"


MISSING = """
import json, sys
sys.modules[sys.argv[1]] = None
from executors.base import NotInstalled
from executors.jupyter import JupyterExecutor
executor = JupyterExecutor("jup", json.loads(sys.argv[2]))
try:
    executor.__enter__()
except NotInstalled as error:
    print(error, error.hint)
print(executor.probe(60.0).exit_code)
"""


@pytest.mark.parametrize("package", ["httpx", "websockets"])
def test_packages_that_are_missing_here_are_named(server: Server, package: str) -> None:
    words = [sys.executable, "-c", MISSING, package, json.dumps(server.options())]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said == f"jup: {package} is not installed here pip install 'offload-broker[jupyter]'\n4\n"


def test_looking_at_an_executor_imports_neither_httpx_nor_websockets() -> None:
    heavy = "{'httpx', 'websockets'} & {*sys.modules}"
    code = f"import sys, executors; executors.executor_class('jupyter')('x', {{}}); print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
