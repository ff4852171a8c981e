"""`offload serve`: started, stopped, killed and started again, by hand or by accident twice."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from broker import settings
from offload import serve as starting
from server import access, running
from tests.ports import reserved
from tests.server.serving import REPO, Serving


def typed(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """An `offload` command, as typed."""
    return subprocess.run(
        [sys.executable, "-m", "offload", *words],
        cwd=REPO,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def log_in(serving: Serving, code: str) -> httpx.Response:
    return httpx.post(f"{serving.url}/v1/session", json={"code": code}, trust_env=False, timeout=60)


def browser(serving: Serving) -> httpx.Client:
    """A client with no more than the cookie of a login."""
    client = httpx.Client(base_url=serving.url, trust_env=False, timeout=60)
    client.cookies = log_in(serving, serving.code).cookies
    return client


def test_the_link_logs_a_browser_in_once(serving: Serving) -> None:
    answer = log_in(serving, serving.code)
    assert answer.status_code == 204 and not answer.content
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == f"offload_{serving.port}"
    said = {word.strip().lower() for word in rest.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", f"max-age={30 * 86400}"} == said
    with httpx.Client(base_url=serving.url, cookies=answer.cookies, trust_env=False, timeout=60) as client:
        assert client.get("/v1/health").status_code == 200
        assert client.get("/v1/health", headers={"Origin": "http://127.0.0.1:1"}).status_code == 403
    again = log_in(serving, serving.code)
    assert again.status_code == 401 and "set-cookie" not in again.headers
    assert "offload serve --link" in again.json()["hint"]


def test_logging_out_forgets_the_cookie(serving: Serving) -> None:
    with browser(serving) as client:
        assert client.delete("/v1/session").status_code == 204
        assert not client.cookies and client.get("/v1/health").status_code == 401


def test_guessing_codes_is_refused_for_a_while_and_keeps_nobody_out(serving: Serving) -> None:
    assert {log_in(serving, f"guess {number}").status_code for number in range(20)} == {401}
    refused = log_in(serving, "guess 20")
    assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 60
    with serving.http() as http:
        assert http.get("/v1/health").status_code == 200  # who is in is not concerned
    assert log_in(serving, serving.code).status_code == 204


def test_only_the_link_goes_to_stdout_and_no_secret_to_the_log(serving: Serving) -> None:
    with browser(serving) as client:
        assert client.get(f"/v1/health?token={serving.token}").status_code == 200
        assert client.get("/v1/targets").status_code == 200
    token, cookie = serving.token, client.cookies[f"offload_{serving.port}"]
    assert serving.process and serving.process.stdout
    stdout = serving.process.stdout
    assert serving.link == f"{serving.url}/#code={serving.code}"
    serving.process.send_signal(signal.SIGTERM)
    assert stdout.read() == ""
    said = serving.log.read_text()
    assert said.splitlines()[-1] == "stopped; jobs go on" and len(said.splitlines()) == 2
    assert not [secret for secret in (token, cookie, serving.code) if secret in said]


def test_another_link_comes_from_the_server_that_runs(serving: Serving) -> None:
    for words in (("--link",), ("--link", "--port", str(serving.port))):
        made = typed("serve", *words)
        assert made.returncode == 0 and made.stderr == ""
        [link] = made.stdout.splitlines()
        address, _, code = link.partition("/#code=")
        assert address == serving.url and log_in(serving, code).status_code == 204


def test_started_twice_it_prints_a_link_of_the_first(serving: Serving) -> None:
    made = typed("serve", "--port", str(serving.port))
    assert made.returncode == 0 and f"runs already, at port {serving.port}" in made.stderr
    assert log_in(serving, made.stdout.strip().partition("/#code=")[2]).status_code == 204


def test_of_several_started_at_once_one_serves_and_all_print_a_link(offload_dirs: Path) -> None:
    with reserved() as place:
        port = place.getsockname()[1]
        words = [sys.executable, "-m", "offload", "serve", "--port", str(port)]
        started = [subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        links = [one.stdout.readline() for one in started if one.stdout]
        assert len(set(links)) == 3 and {link.partition("/#")[0] for link in links} == {f"http://127.0.0.1:{port}"}
        for one in started:
            one.terminate()
            one.communicate()
    assert [file.name for file in (offload_dirs / "state/server/running").iterdir()] == [str(port)]


def test_one_that_has_only_just_come_to_its_port_is_ours(offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between coming to it and being known there is a moment, which a busy machine makes long."""
    config, looks = settings.load(), list[float]()
    access.token(access.folder(config))
    with ExitStack() as over, reserved() as place:
        port = place.getsockname()[1]

        def pause(seconds: float) -> None:
            looks.append(seconds)
            if sum(looks) > 1:
                over.enter_context(running.known(config, port))

        monkeypatch.setattr(starting.time, "sleep", pause)
        assert starting._is_ours(config, port)


def test_without_a_server_there_is_no_link() -> None:
    made = typed("serve", "--link")
    assert (made.returncode, made.stdout) == (5, "")
    assert "no server runs" in made.stderr and made.stderr.rstrip().endswith("offload serve")


@pytest.fixture
def stranger() -> Iterator[tuple[int, list[bytes]]]:
    """Another program at a port, and what it hears."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as at:

        def listen() -> None:
            try:
                while True:
                    to, _ = at.accept()
                    with to:
                        heard.append(to.recv(65536))
            except OSError:
                return  # closed: the test is over

        thread = threading.Thread(target=listen)
        thread.start()
        yield at.getsockname()[1], heard
        at.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_token_is_not_shown_to_a_stranger_at_the_port(stranger: tuple[int, list[bytes]]) -> None:
    """Also where a server of ours was, and has left its mark."""
    port, heard = stranger
    place = access.folder(settings.load()) / "running"
    place.mkdir(parents=True)
    (place / str(port)).touch()
    access.token(access.folder(settings.load()))
    assert running.ports(settings.load()) == []
    taken = typed("serve", "--port", str(port))
    assert taken.returncode == 7 and f"port {port} cannot be had" in taken.stderr and "--port 0" in taken.stderr
    assert typed("serve", "--link", "--port", str(port)).returncode == 5
    assert heard == []


def test_a_port_of_the_system_is_refused() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may have any port")
    refused = typed("serve", "--port", "1")
    assert refused.returncode == 7 and "port 1 cannot be had" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_when_asked_with_streams_open(serving: Serving, number: signal.Signals) -> None:
    """Quietly, and soon: a stream of events would never end, an upload may take an hour."""
    with serving.http() as http, http.stream("GET", "/v1/events") as events, _half_an_upload(serving):
        told = events.iter_raw()
        assert next(told)
        assert serving.stop(number) == 130
        assert not [one for one in told if b"error" in one]  # and it was not cut off
    assert serving.log.read_text().splitlines()[1:] == ["stopped; jobs go on"]


class _half_an_upload:  # noqa: N801 - as a context is called
    """An upload of which half was sent, whose sender waits."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def __enter__(self) -> None:
        with self._serving.http() as http:
            begun = http.post("/v1/blobs", json={"size": 100, "sha256": "0" * 64}).json()["upload"]
        self._to = socket.create_connection(("127.0.0.1", self._serving.port))
        head = (
            f"PATCH /v1/blobs/{begun} HTTP/1.1\r\nHost: 127.0.0.1:{self._serving.port}\r\n"
            f"Authorization: Bearer {self._serving.token}\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\nContent-Length: 100\r\n\r\n"
        )
        self._to.sendall(head.encode() + b"x" * 50)

    def __exit__(self, *_: object) -> None:
        self._to.close()


STUCK = """
import sys, time
from pathlib import Path
import server.routes.health
from offload.main import main

def stuck(name):
    Path(place).touch()
    time.sleep(200)

place = sys.argv.pop()
server.routes.health.version = stuck
main()
"""


def test_it_ends_though_a_request_does_not(serving: Serving, tmp_path: Path) -> None:
    """A thread cannot be stopped: a model that is loaded, a machine that is asked."""
    stuck = tmp_path / "stuck"
    words = [sys.executable, "-c", STUCK, "serve", "--port", "0", stuck]
    with subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        url = started.stdout.readline().partition("/#")[0]
        asking = threading.Thread(target=_ask_in_vain, args=(f"{url}/v1/health", serving.token))
        asking.start()
        while not stuck.exists() and asking.is_alive():
            time.sleep(0.01)
        started.terminate()
        assert started.wait(100) == 130
        asking.join()


def _ask_in_vain(url: str, token: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=500, trust_env=False)


def test_killed_and_started_again_it_knows_its_cookies_and_links_anew(serving: Serving) -> None:
    with browser(serving) as client:
        token, port = serving.token, serving.port
        serving.kill()
        assert typed("serve", "--link").returncode == 5  # its mark went with it
        serving.start()
        assert (serving.token, serving.port) == (token, port)
        assert client.get("/v1/health").status_code == 200
        assert typed("serve", "--link").returncode == 0


def test_a_new_token_ends_all_cookies(serving: Serving, offload_dirs: Path) -> None:
    with browser(serving) as client:
        serving.kill()
        (offload_dirs / "state/server/token").unlink()
        serving.start()
        assert client.get("/v1/health").status_code == 401


def test_a_token_that_is_gone_while_the_server_runs_is_told(serving: Serving, offload_dirs: Path) -> None:
    token = offload_dirs / "state/server/token"
    token.unlink()
    gone = typed("serve", "--link")
    assert (gone.returncode, gone.stdout) == (7, "") and f"{token} is not there" in gone.stderr
    assert not token.exists() and "start it again" in gone.stderr
    token.write_text("t" * 43)
    token.chmod(0o600)
    other = typed("serve", "--port", str(serving.port))
    assert (other.returncode, other.stdout) == (7, "")
    assert f"the server at port {serving.port} was started with another token" in other.stderr
    assert "start it again" in other.stderr


def test_two_servers_have_one_token_and_cookies_of_their_own(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with Serving(tmp_path / "other") as other, browser(serving) as client:
        assert other.token == serving.token and other.port != serving.port
        client.cookies.update(log_in(other, other.code).cookies)
        assert set(client.cookies) == {f"offload_{serving.port}", f"offload_{other.port}"}
        assert client.get("/v1/health").status_code == 200
        assert client.get(f"{other.url}/v1/health").status_code == 200


def test_a_token_others_can_read_is_refused(offload_dirs: Path) -> None:
    token = offload_dirs / "state/server/token"
    token.parent.mkdir()
    token.write_text("t" * 43)
    token.chmod(0o644)
    refused = typed("serve", "--port", "0")
    assert (refused.returncode, refused.stdout) == (7, "")
    assert "others on this machine can read" in refused.stderr and f"rm {token}" in refused.stderr


def test_what_it_keeps_is_its_users_alone(serving: Serving, offload_dirs: Path) -> None:
    with serving.http() as http:
        http.post("/v1/blobs", json={"size": 100, "sha256": "0" * 64}).raise_for_status()
    place = offload_dirs / "state/server"
    found = {path.relative_to(place).as_posix(): stat.S_IMODE(path.lstat().st_mode) for path in place.rglob("*")}
    assert {"token", "running", f"running/{serving.port}", "uploads"} <= found.keys()
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('gone', name='uvicorn')\n")
    missing = typed("serve", env={"PYTHONPATH": str(tmp_path)})
    assert missing.returncode == 4
    assert "needs uvicorn" in missing.stderr and "pip install 'offload-broker[server]'" in missing.stderr


def test_help_imports_no_server() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "offload", "serve", "--help"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert "--link" in told.stdout and "server.running" in imported
    assert not imported & {"fastapi", "uvicorn", "httpx", "starlette", "prometheus_client"}
