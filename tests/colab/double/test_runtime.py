"""A runtime: who is let in, what is there, and how it is lost."""

from __future__ import annotations

import base64
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from websockets import exceptions

from tests.colab.double import Double, double
from tests.colab.double.asking import TUNNEL, channels, comes, get, read, said_by, taken
from tests.colab.double.runtime import HEADER, PATIENCE, Runtime, plain


class TestRuntimeCalls:
    def test_keep_alive_goes_through_the_tunnel(self, cloud: Double) -> None:
        ((endpoint, found),) = cloud.control.assignments.items()
        before = len(found.kept)
        with cloud.client() as client:
            assert client.get(f"/tun/m/{endpoint}/keep-alive/").status_code == 400
            assert len(found.kept) == before
            assert client.get(f"/tun/m/{endpoint}/keep-alive/", headers=TUNNEL).status_code == 200
            assert client.get("/tun/m/m-s-none/keep-alive/", headers=TUNNEL).status_code == 404
        assert len(found.kept) == before + 1

    def test_keep_alive_that_is_not_answered_is_heard(self, cloud: Double) -> None:
        ((endpoint, found),) = cloud.control.assignments.items()
        before = len(found.kept)
        cloud.faults.silent.add("keep-alive")
        with cloud.client() as client, pytest.raises(httpx.ReadTimeout):
            client.get(f"/tun/m/{endpoint}/keep-alive/", headers=TUNNEL, timeout=0.2)
        cloud.faults.silent.clear()
        comes(lambda: len(found.kept) == before + 1)

    def test_a_new_proxy_token_goes_through_the_tunnel(self, cloud: Double, runtime: Runtime) -> None:
        (endpoint,) = cloud.runtimes
        place, known = "/tun/m/runtime-proxy-token", {"endpoint": endpoint, "port": "8080"}
        with cloud.client() as client:
            assert client.get(place, params=known).status_code == 400
            assert client.get(place, params={**known, "port": "22"}, headers=TUNNEL).status_code == 400
            assert client.get(place, params={**known, "endpoint": "x"}, headers=TUNNEL).status_code == 404
            told = read(client.get(place, params=known, headers=TUNNEL))
        assert (told["url"], told["tokenExpiresInSeconds"]) == (runtime.url, 3600)
        assert get(f"{runtime.url}/api", headers={HEADER: told["token"]}).is_success


class TestGate:
    PATHS = ("api", "api/kernels", "api/contents/", "files/content/x", "login", "tree", "static/x")

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("shown", [{}, {HEADER: "no"}, {"Authorization": "token no"}])
    def test_nobody_comes_in_without_a_proxy_token(self, runtime: Runtime, path: str, shown: dict[str, str]) -> None:
        assert get(f"{runtime.url}/{path}", headers=shown).status_code == 401

    def test_jupyters_own_token_lets_nobody_in(self, runtime: Runtime) -> None:
        token = runtime.let_in(PATIENCE)
        for shown in ({"Authorization": f"token {token}"}, {"Authorization": f"Bearer {token}"}):
            assert get(f"{runtime.url}/api/kernels", headers=shown).status_code == 401
        for name in ("token", "colab-runtime-proxy-token"):
            status = get(f"{runtime.url}/api/kernels", params={name: token}).status_code
            assert status == (401 if name == "token" else 200)

    def test_no_cookie_lets_in_later(self, runtime: Runtime, data: httpx.Client) -> None:
        assert data.get("/api/kernels").is_success
        del data.headers[HEADER]
        assert data.get("/api/kernels").status_code == 401

    def test_no_change_is_made_without_a_token(self, runtime: Runtime) -> None:
        model = {"type": "file", "format": "text", "content": "x"}
        with plain() as client:
            assert client.put(f"{runtime.url}/api/contents/content/no", json=model).status_code == 401
        assert not (runtime.content / "no").exists()

    def test_a_token_is_good_for_its_time(self, runtime: Runtime, data: httpx.Client) -> None:
        data.headers[HEADER] = runtime.let_in(0.5)
        comes(lambda: data.get("/api").status_code == 401)

    def test_all_tokens_can_expire_at_once(self, cloud: Double, runtime: Runtime, data: httpx.Client) -> None:
        assert data.get("/api").is_success
        runtime.expire_tokens()
        assert data.get("/api").status_code == 401
        data.headers[HEADER] = runtime.let_in(PATIENCE)
        assert data.get("/api").is_success

    def test_websockets_are_checked_too(self, runtime: Runtime, data: httpx.Client) -> None:
        kernel = data.post("/api/kernels").json()["id"]
        try:
            with pytest.raises(exceptions.InvalidStatus, match="401"):
                channels(runtime, kernel, "no").__enter__()
            with channels(runtime, kernel, data.headers[HEADER]) as websocket:
                assert said_by(websocket, "print(6 * 7)") == "42\n"
        finally:
            data.delete(f"/api/kernels/{kernel}")


class TestMachine:
    def test_it_is_one_of_its_own(self, runtime: Runtime, data: httpx.Client) -> None:
        code = """
import os, subprocess
print(os.environ["HOME"], os.getcwd(), os.getpid() < 1000, os.listdir("/proc").count("1"), sep="|", end="|")
query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
print(subprocess.run(query, capture_output=True, text=True).stdout.strip(), end="|")
print([name for name in os.environ if name.startswith(("OFFLOAD", "DOUBLE", "PYTEST", "JUPYTER_TOKEN"))])
"""
        session = {"path": "content/x", "name": "x", "type": "console", "kernel": {"name": "python3"}}
        started = data.post("/api/sessions", json=session).json()
        try:
            with channels(runtime, started["kernel"]["id"], data.headers[HEADER]) as websocket:
                home, folder, own, first, gpu, ours = said_by(websocket, code).strip().split("|")
        finally:
            data.delete(f"/api/sessions/{started['id']}")
        assert (home, folder) == (str(runtime.home), str(runtime.content))
        assert (own, first, ours) == ("True", "1", "[]")
        assert gpu == "Tesla T4, 15360, 550.54.15"

    def test_its_files_are_served_as_jupyter_does(self, runtime: Runtime, data: httpx.Client) -> None:
        for number, part in ((1, b"one "), (2, b"two "), (-1, b"three")):
            content = base64.b64encode(part).decode()
            model = {"type": "file", "format": "base64", "chunk": number, "content": content}
            assert data.put("/api/contents/content/chunks", json=model).is_success
        ranged = data.get("/files/content/chunks", headers={"Range": "bytes=4-7"})
        assert (ranged.status_code, ranged.content) == (206, b"two ")
        assert (runtime.content / "chunks").read_bytes() == b"one two three"
        model = {"type": "file", "format": "text", "content": "x"}
        assert data.put("/api/contents/content/.hidden", json=model).status_code == 400
        (runtime.content / ".hidden").write_text("x")
        assert data.get("/files/content/.hidden").status_code == 404
        assert data.put("/api/contents/content/nowhere/x", json=model).status_code == 500

    def test_a_link_that_is_cut_and_mended(self, runtime: Runtime, data: httpx.Client) -> None:
        data.get("/api")
        runtime.cut()
        with pytest.raises(httpx.ReadTimeout):
            data.get("/api", timeout=0.3)
        runtime.mend()
        assert data.get("/api").is_success

    def test_connections_that_are_dropped(self, runtime: Runtime, data: httpx.Client) -> None:
        kernel = data.post("/api/kernels").json()["id"]
        with channels(runtime, kernel, data.headers[HEADER]) as websocket:
            said_by(websocket, "kept = 1; print(1)")
            runtime.drop()
            with pytest.raises(exceptions.ConnectionClosedError):
                while websocket.recv(timeout=PATIENCE):
                    """Hear what had been said before."""
        with channels(runtime, kernel, data.headers[HEADER]) as websocket:
            assert said_by(websocket, "print(kept + 1)") == "2\n"
        data.delete(f"/api/kernels/{kernel}")


def test_a_double_leaves_nothing(tmp_path: Path) -> None:
    with double(tmp_path / "google") as google, google.client() as client:
        taken(client)
        (machine,) = google.runtimes.values()
        processes = machine.processes()
        port = urlsplit(google.url).port
    assert not any(process.is_running() for process in processes)
    assert not machine.disk.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port or 0))
    assert not [child for child in psutil.Process().children() if child.pid == machine._process.pid]


def test_a_wire_can_be_jammed_in_a_transfer(tmp_path: Path) -> None:
    with double(tmp_path / "google", wired=True) as google, google.client() as client:
        way = taken(client)["runtimeProxyInfo"]
        (machine,) = google.runtimes.values()
        (machine.content / "big").write_bytes(bytes(10_000_000))
        assert machine.wire
        assert way["url"].endswith(f":{machine.wire.port}")
        machine.wire.jam(after=5_000_000)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(get, f"{way['url']}/files/content/big", headers={HEADER: way["token"]})
            comes(machine.wire.jammed.is_set)
            machine.wire.cut()
            assert isinstance(asked.exception(), httpx.RemoteProtocolError)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", machine.wire.port))
