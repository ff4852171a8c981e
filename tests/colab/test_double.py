"""The double itself: each sentence that is known of Colab's protocol, seen by a plain client."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import psutil
import pytest
from websockets import exceptions
from websockets.sync.client import ClientConnection, connect

from executors.colab.address import Address
from executors.colab.login import Login
from executors.colab.places import SCOPES, new_hash
from tests.colab.double import Double, double
from tests.colab.double.runtime import HEADER, PATIENCE, Runtime, plain
from tests.executors.sshd import free_port

GUARD = ")]}'\n"
TUNNEL = {"X-Colab-Tunnel": "Google"}
T4 = {"variant": "GPU", "accelerator": "T4"}


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Double]:
    """A double with no machine started."""
    with double(tmp_path / "google", warm=0) as google:
        yield google


@pytest.fixture
def me(pages: Double) -> Iterator[httpx.Client]:
    """Somebody who is logged in there."""
    with pages.client() as client:
        yield client


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """A double with a runtime that no test breaks."""
    with double(tmp_path_factory.mktemp("cloud") / "google") as google:
        with google.client() as client:
            taken(client, **T4)
        yield google


@pytest.fixture
def runtime(cloud: Double) -> Runtime:
    (found,) = cloud.runtimes.values()
    return found


@pytest.fixture
def data(runtime: Runtime) -> Iterator[httpx.Client]:
    """Somebody who is let in to it."""
    with plain(base_url=runtime.url) as client:
        client.headers[HEADER] = runtime.let_in(PATIENCE)
        yield client


def get(url: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
    """Ask as somebody whom nobody knows."""
    with plain() as client:
        return client.get(url, headers=headers, **more)


def read(response: httpx.Response) -> Any:
    """The JSON of the control plane's answer."""
    assert response.text.startswith(GUARD)
    return json.loads(response.text[len(GUARD) :])


def post(client: httpx.Client, nbh: str, **wanted: str) -> httpx.Response:
    """Ask for a runtime as is proper."""
    token = read(client.get("/tun/m/assign", params={"nbh": nbh, **wanted}))["token"]
    return client.post("/tun/m/assign", params={"nbh": nbh, **wanted}, headers={"X-Goog-Colab-Token": token})


def taken(client: httpx.Client, nbh: str = "", **wanted: str) -> dict[str, Any]:
    """Take a runtime."""
    found: dict[str, Any] = read(post(client, nbh or new_hash(), **wanted))
    return found


def comes(happened: Callable[[], bool]) -> None:
    """Wait for it."""
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)


class TestUsage:
    def test_what_the_account_may_have(self, pages: Double, me: httpx.Client) -> None:
        pages.control.quota, pages.control.refill = 4000, time.time() + 100
        assert read(me.get("/tun/m/ccu-info")) == {
            "currentBalance": 0,
            "consumptionRateHourly": 0,
            "assignmentsCount": 0,
            "eligibleGpus": ["T4"],
            "ineligibleGpus": ["L4", "A100"],
            "eligibleTpus": ["V5E1"],
            "freeCcuQuotaInfo": {"remainingTokens": "4000", "nextRefillTimestampSec": int(pages.control.refill)},
        }
        assert read(me.get("/tun/m/assignments")) == {"assignments": []}

    def test_quota_is_filled_up_again(self, pages: Double, me: httpx.Client) -> None:
        pages.control.quota, pages.control.refill = 0, time.time()
        free = read(me.get("/tun/m/ccu-info"))["freeCcuQuotaInfo"]
        assert free["remainingTokens"] == "36000"
        assert free["nextRefillTimestampSec"] > time.time()

    def test_who_pays_has_a_balance_and_no_free_quota(self, pages: Double, me: httpx.Client) -> None:
        pages.control.balance = 12.5
        told = read(me.get("/tun/m/ccu-info"))
        assert told["currentBalance"] == 12.5
        assert "freeCcuQuotaInfo" not in told


class TestEveryCall:
    @pytest.mark.parametrize("header", ["", "Bearer nonsense", "token {}", "Bearer {}x"])
    def test_demands_a_login(self, pages: Double, me: httpx.Client, header: str) -> None:
        me.headers["Authorization"] = header.format(pages.oauth.access())
        answer = me.get("/tun/m/ccu-info")
        assert answer.status_code == 401
        assert answer.text.startswith(GUARD)

    def test_refuses_a_login_that_expired(self, pages: Double, me: httpx.Client) -> None:
        pages.oauth.expire()
        assert me.get("/tun/m/assignments").status_code == 401
        pages.oauth.expires_in = 0
        me.headers["Authorization"] = f"Bearer {pages.oauth.access()}"
        assert me.get("/tun/m/assignments").status_code == 401

    def test_demands_authuser_and_a_client_agent(self, pages: Double, me: httpx.Client) -> None:
        me.params = {}
        assert me.get("/tun/m/ccu-info").status_code == 400
        assert me.get("/tun/m/ccu-info", params={"authuser": "0"}).status_code == 200
        del me.headers["X-Colab-Client-Agent"]
        assert me.get("/tun/m/ccu-info", params={"authuser": "0"}).status_code == 400

    def test_is_counted(self, pages: Double, me: httpx.Client) -> None:
        me.get("/tun/m/ccu-info")
        me.headers["Authorization"] = ""
        me.get("/tun/m/ccu-info")
        assert pages.faults.calls == {"ccu-info": 2}

    def test_can_answer_any_status_with_a_page(self, pages: Double, me: httpx.Client) -> None:
        pages.faults.fail["ccu-info"] = 502
        answer = me.get("/tun/m/ccu-info")
        assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
        assert me.get("/tun/m/assignments").status_code == 200
        del pages.faults.fail["ccu-info"]
        assert me.get("/tun/m/ccu-info").status_code == 200

    def test_can_be_slow(self, pages: Double, me: httpx.Client) -> None:
        pages.faults.slow["ccu-info"] = 0.3
        started = time.monotonic()
        assert me.get("/tun/m/ccu-info").status_code == 200
        assert time.monotonic() - started >= 0.3

    def test_can_stay_silent_and_has_done_what_it_was_asked(self, pages: Double, me: httpx.Client) -> None:
        pages.faults.silent.add("assign-token")
        pages.faults.fail["assign-token"] = 500
        with pytest.raises(httpx.ReadTimeout):
            me.get("/tun/m/assign", timeout=0.2)
        assert me.get("/tun/m/ccu-info").status_code == 200
        assert pages.faults.calls["assign-token"] == 1

    def test_cannot_be_reached_offline(self, pages: Double, me: httpx.Client) -> None:
        with pages.offline(), pytest.raises(httpx.ConnectError):
            me.get("/tun/m/ccu-info")
        assert me.get("/tun/m/ccu-info").status_code == 200

    def test_is_answered_when_the_double_ends_though_it_is_silent(self, pages: Double, me: httpx.Client) -> None:
        pages.faults.silent.add("ccu-info")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(me.get, "/tun/m/ccu-info")
            comes(lambda: pages.faults.calls["ccu-info"] == 1)
            with pages.offline():
                assert asked.result().status_code == 200


class TestAssign:
    def test_the_first_answer_is_a_token(self, me: httpx.Client) -> None:
        nbh = new_hash()
        told = read(me.get("/tun/m/assign", params={"nbh": nbh, **T4}))
        assert told.pop("token")
        assert told == {"acc": "T4", "nbh": nbh, "p": False, "variant": "GPU"}

    @pytest.mark.parametrize(
        "wanted",
        [
            {},
            {"nbh": "short"},
            {"nbh": new_hash().replace("_", "-")},
            {"nbh": new_hash(), "variant": "GPU"},
            {"nbh": new_hash(), "accelerator": "T4"},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, me: httpx.Client, wanted: dict[str, str]) -> None:
        assert me.get("/tun/m/assign", params=wanted).status_code == 400

    def test_the_token_is_for_one_post_and_one_notebook(self, pages: Double, me: httpx.Client) -> None:
        pages.control.most = 0  # so that none is taken
        mine, other = ({"nbh": new_hash()} for _ in range(2))
        token = {"X-Goog-Colab-Token": read(me.get("/tun/m/assign", params=mine))["token"]}
        assert me.post("/tun/m/assign", params=mine).status_code == 403
        assert me.post("/tun/m/assign", params=mine, headers=token).status_code == 412
        assert me.post("/tun/m/assign", params=mine, headers=token).status_code == 403
        token = {"X-Goog-Colab-Token": read(me.get("/tun/m/assign", params=mine))["token"]}
        assert me.post("/tun/m/assign", params=other, headers=token).status_code == 403
        assert pages.runtimes == {}

    def test_too_many(self, pages: Double, me: httpx.Client) -> None:
        pages.control.most = 0
        assert post(me, new_hash(), **T4).status_code == 412

    def test_no_machine_of_a_kind(self, pages: Double, me: httpx.Client) -> None:
        pages.control.no_machine = {"T4", ""}
        assert post(me, new_hash(), **T4).status_code == 503
        assert post(me, new_hash()).status_code == 503

    def test_an_accelerator_that_the_account_may_not_have(self, me: httpx.Client) -> None:
        assert post(me, new_hash(), variant="GPU", accelerator="A100").status_code == 400

    @pytest.mark.parametrize("outcome", [1, 2, 5])
    def test_an_outcome_that_is_no_runtime(self, pages: Double, me: httpx.Client, outcome: int) -> None:
        pages.control.outcome = outcome
        assert taken(me, **T4) == {"outcome": outcome}
        assert pages.runtimes == {}

    def test_no_quota_left(self, pages: Double, me: httpx.Client) -> None:
        pages.control.quota = 0
        assert taken(me) == {"outcome": 2}

    def test_a_runtime(self, pages: Double, me: httpx.Client) -> None:
        pages.control.idle_seconds = 5000
        nbh = new_hash()
        told = taken(me, nbh, **T4)
        ((endpoint, machine),) = pages.runtimes.items()
        way = told.pop("runtimeProxyInfo")
        known = {"accelerator": "T4", "endpoint": endpoint, "variant": 1, "machineShape": 0}
        assert told == {**known, "fit": 5000, "sub": 1, "subTier": 0, "outcome": 4}
        assert (way["url"], way["tokenExpiresInSeconds"]) == (machine.url, 3600)
        assert get(f"{way['url']}/api/kernels", headers={HEADER: way["token"]}).json() == []
        assert read(me.get("/tun/m/assignments")) == {"assignments": [known]}
        usage = read(me.get("/tun/m/ccu-info"))
        assert (usage["assignmentsCount"], usage["freeCcuQuotaInfo"]["remainingTokens"]) == (1, "35000")
        again = read(me.get("/tun/m/assign", params={"nbh": nbh, **T4}))
        assert (again["endpoint"], "token" in again) == (endpoint, False)
        assert get(f"{way['url']}/api", headers={HEADER: again["runtimeProxyInfo"]["token"]}).is_success

    def test_many_at_once_for_one_notebook_get_one_runtime(self, pages: Double, me: httpx.Client) -> None:
        nbh = new_hash()
        wanted = {"nbh": nbh, **T4}
        tokens = [read(me.get("/tun/m/assign", params=wanted))["token"] for _ in range(4)]

        def take(token: str) -> str:
            answer = me.post("/tun/m/assign", params=wanted, headers={"X-Goog-Colab-Token": token})
            return str(read(answer)["endpoint"])

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(take, tokens))) == 1
        assert len(pages.runtimes) == 1
        assert pages.control.quota == 35_000


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


def channels(runtime: Runtime, kernel: str, token: str) -> ClientConnection:
    """A websocket to a kernel."""
    place = f"{runtime.url.replace('http', 'ws')}/api/kernels/{kernel}/channels"
    return connect(place, additional_headers={HEADER: token}, proxy=None, open_timeout=PATIENCE, compression=None)


def said_by(websocket: ClientConnection, code: str) -> str:
    """What some Python prints in the kernel."""
    header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "1", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    websocket.send(json.dumps(message))
    while (heard := json.loads(websocket.recv(timeout=PATIENCE)))["msg_type"] != "stream":
        assert heard["msg_type"] != "error", heard
    return str(heard["content"]["text"])


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


class TestEnd:
    def test_a_runtime_that_is_given_back(self, pages: Double, me: httpx.Client) -> None:
        endpoint = taken(me)["endpoint"]
        machine = pages.runtimes[endpoint]
        place = f"/tun/m/unassign/{endpoint}"
        token = {"X-Goog-Colab-Token": read(me.get(place))["token"]}
        assert me.post(place).status_code == 403
        assert endpoint in pages.runtimes
        answer = me.post(place, headers=token)
        assert (answer.status_code, answer.content) == (204, b"")
        assert read(me.get("/tun/m/assignments")) == {"assignments": []}
        assert me.get(place).status_code == 404
        assert pages.control.ended == {endpoint: "released"}
        assert machine.gone

    def test_one_that_nobody_keeps_alive_is_ended(self, tmp_path: Path) -> None:
        with double(tmp_path / "google", warm=2) as google, google.client() as client:
            google.control.most = 2
            kept, left = (taken(client)["endpoint"] for _ in range(2))
            google.control.assignments[kept].kept.append(time.monotonic() + PATIENCE)
            google.control.idle_seconds = 0.5
            comes(lambda: left not in google.runtimes)
            assert google.control.ended == {left: "idle"}
            assert kept in google.runtimes
            google.control.life_seconds = 0.5
            comes(lambda: google.control.ended.get(kept) == "life")
            comes(lambda: read(client.get("/tun/m/assignments")) == {"assignments": []})

    @pytest.mark.parametrize("forget", [True, False])
    def test_one_that_vanishes(self, tmp_path: Path, forget: bool) -> None:
        with double(tmp_path / "google") as google, google.client() as client:
            told = taken(client)
            endpoint, shown = told["endpoint"], {HEADER: told["runtimeProxyInfo"]["token"]}
            machine = google.runtimes[endpoint]
            run(machine, shown, "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
            processes = machine.processes()
            assert any(process.name() == "sleep" for process in processes)
            google.vanish(endpoint, forget)
            assert not any(process.is_running() for process in processes)
            assert not machine.disk.exists()
            with pytest.raises(httpx.ConnectError):
                get(f"{machine.url}/api", headers=shown)
            listed = read(client.get("/tun/m/assignments"))["assignments"]
            assert [entry["endpoint"] for entry in listed] == ([] if forget else [endpoint])
            asked = client.get(
                "/tun/m/runtime-proxy-token", params={"endpoint": endpoint, "port": 8080}, headers=TUNNEL
            )
            assert asked.status_code == (404 if forget else 200)


def run(machine: Runtime, shown: dict[str, str], code: str) -> None:
    """Run some Python in a kernel that is left there."""
    with plain() as client:
        kernel = client.post(f"{machine.url}/api/kernels", headers=shown).json()["id"]
    with channels(machine, kernel, shown[HEADER]) as websocket:
        assert said_by(websocket, f"{code}; print('done')") == "done\n"


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
        with pytest.raises(httpx.ReadTimeout):
            get(f"{way['url']}/files/content/big", headers={HEADER: way["token"]}, timeout=1)
        assert machine.wire.jammed.is_set()


# Logging in

VERIFIER = "v" * 50


def question(google: Double, **changed: str) -> dict[str, str]:
    """A query of the login page, as it should be."""
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    query = {
        "client_id": google.oauth.client_id,
        "redirect_uri": f"http://127.0.0.1:{free_port()}/",
        "response_type": "code",
        "scope": SCOPES,
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
        "state": "s t",
        "access_type": "offline",
        "prompt": "consent",
    }
    return {**query, **changed}


def answered(google: Double, query: dict[str, str]) -> dict[str, str]:
    """What the login page sends back to the program."""
    answer = get(f"{google.url}/o/oauth2/v2/auth", params=query)
    assert answer.status_code == 302
    place, _, said = answer.headers["location"].partition("?")
    assert place == query["redirect_uri"]
    return dict(parse_qsl(said))


def token_page(google: Double, form: dict[str, str]) -> httpx.Response:
    """What the token page makes of a form."""
    with plain() as client:
        return client.post(f"{google.url}/token", data=form)


def exchanged(google: Double, query: dict[str, str], code: str, **changed: str) -> httpx.Response:
    """What the token page makes of a code."""
    form = {
        "client_id": google.oauth.client_id,
        "client_secret": google.oauth.client_secret,
        "code": code,
        "code_verifier": VERIFIER,
        "grant_type": "authorization_code",
        "redirect_uri": query["redirect_uri"],
    }
    return token_page(google, {**form, **changed})


def renewed(google: Double, token: str, **changed: str) -> httpx.Response:
    """What the token page makes of a refresh token."""
    client = {"client_id": google.oauth.client_id, "client_secret": google.oauth.client_secret}
    form = {**client, "grant_type": "refresh_token", "refresh_token": token, **changed}
    return token_page(google, form)


class TestLogin:
    def test_from_the_login_page_to_a_call(self, pages: Double) -> None:
        query = question(pages)
        said = answered(pages, query)
        assert said["state"] == "s t"
        tokens = exchanged(pages, query, said["code"]).json()
        assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
        assert "https://www.googleapis.com/auth/colaboratory" in tokens["scope"].split()
        assert pages.oauth.accepts(f"Bearer {tokens['access_token']}")
        again = renewed(pages, tokens["refresh_token"]).json()
        assert again["access_token"] != tokens["access_token"]
        assert "refresh_token" not in again
        assert pages.oauth.asked == [query]
        assert [form["grant_type"] for form in pages.oauth.exchanged] == ["authorization_code", "refresh_token"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"client_id": "another"},
            {"redirect_uri": "http://example.com/"},
            {"redirect_uri": "https://127.0.0.1/"},
            {"response_type": "token"},
            {"scope": ""},
            {"code_challenge": ""},
            {"code_challenge_method": "plain"},
            {"state": ""},
        ],
        ids=str,
    )
    def test_a_question_that_is_wrong_is_answered_by_a_page(self, pages: Double, changed: dict[str, str]) -> None:
        answer = get(f"{pages.url}/o/oauth2/v2/auth", params=question(pages, **changed))
        assert answer.status_code == 400

    def test_a_user_who_says_no(self, pages: Double) -> None:
        pages.oauth.denies = True
        assert answered(pages, question(pages)) == {"state": "s t", "error": "access_denied"}

    def test_a_user_who_unticks_a_scope(self, pages: Double) -> None:
        pages.oauth.grants = {"email"}
        query = question(pages)
        scope = exchanged(pages, query, answered(pages, query)["code"]).json()["scope"]
        assert scope == "openid https://www.googleapis.com/auth/userinfo.email"

    @pytest.mark.parametrize(
        ("changed", "error"),
        [
            ({"code_verifier": "other"}, "invalid_grant"),
            ({"code": "other"}, "invalid_grant"),
            ({"redirect_uri": "http://127.0.0.1:1/"}, "redirect_uri_mismatch"),
            ({"client_secret": "other"}, "invalid_client"),
            ({"client_id": "other"}, "invalid_client"),
            ({"grant_type": "password"}, "unsupported_grant_type"),
        ],
        ids=str,
    )
    def test_an_exchange_that_is_wrong(self, pages: Double, changed: dict[str, str], error: str) -> None:
        query = question(pages)
        answer = exchanged(pages, query, **{"code": answered(pages, query)["code"], **changed})
        assert (answer.status_code in (400, 401), answer.json()["error"]) == (True, error)

    def test_a_code_is_good_once(self, pages: Double) -> None:
        query = question(pages)
        code = answered(pages, query)["code"]
        assert exchanged(pages, query, code).is_success
        assert exchanged(pages, query, code).json()["error"] == "invalid_grant"

    @pytest.mark.parametrize("missing", [{"access_type": "online"}, {"prompt": "none"}])
    def test_no_refresh_token_unasked(self, pages: Double, missing: dict[str, str]) -> None:
        query = question(pages, **missing)
        assert "refresh_token" not in exchanged(pages, query, answered(pages, query)["code"]).json()

    def test_a_client_without_a_secret(self, pages: Double) -> None:
        pages.oauth.client_secret = ""
        assert renewed(pages, pages.oauth.issue()).is_success

    def test_a_login_that_was_revoked(self, pages: Double, me: httpx.Client) -> None:
        token = pages.oauth.issue()
        pages.oauth.revoke()
        answer = renewed(pages, token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert me.get("/tun/m/ccu-info").status_code == 401

    def test_access_tokens_end(self, pages: Double) -> None:
        pages.oauth.expires_in = 0
        answer = renewed(pages, pages.oauth.issue()).json()
        assert answer["expires_in"] == 0
        assert not pages.oauth.accepts(f"Bearer {answer['access_token']}")

    def test_logins_are_saved_as_programs_save_them(self, pages: Double) -> None:
        address = Address.of("colab", pages.options())
        cgpu = pages.log_in_cgpu()
        assert pages.oauth.accepts(f"Bearer {Login(address).token()}")
        ours = pages.log_in()
        assert pages.oauth.accepts(f"Bearer {Login(address).token()}")
        assert [form["refresh_token"] for form in pages.oauth.exchanged] == [cgpu, ours]
