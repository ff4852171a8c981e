"""The door: over every route there is, nobody gets in who should not, and what refuses them is a problem document."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from broker import settings
from server import app as application
from server import problems
from server.access import Access
from server.desk import Desk
from server.guard import BODY_BYTES, OPEN, Guard, cookie_name
from server.metrics import Metrics
from tests.server.serving import Serving

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
TOKEN = "t" * 43
LET_IN = {"Authorization": f"Bearer {TOKEN}"}
HYGIENE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}

Asked = tuple[str, str]


@pytest.fixture
def access() -> Access:
    return Access(TOKEN)


@pytest.fixture
def client(access: Access) -> TestClient:
    """The application as it is served."""
    return TestClient(application.create(Desk(settings.load(), access, PORT)), base_url=f"http://{HOST}")


@pytest.fixture
def routes(access: Access) -> list[Asked]:
    """Each method and path of the application, the one that has been added last, too."""
    app = application.routed(Desk(settings.load(), access, PORT), Metrics())
    found = list(_routes(app))
    assert ("GET", "/openapi.json") in found and ("POST", "/v1/session") in found and len(found) > 20
    return found


def _routes(app: FastAPI) -> Iterator[Asked]:
    for route in iter_route_contexts(app.routes):
        for method in sorted(route.methods or ()):
            yield method, re.sub(r"{[^}]*}", "0", route.path)


def _cookie(value: str, port: int = PORT) -> dict[str, str]:
    return {"Cookie": f"{cookie_name(port)}={value}"}


def _good_cookie(access: Access) -> str:
    return access.redeem(access.code()) or ""


def _expired() -> str:
    return Access(TOKEN)._cookie(int(time.time()) - 1)


STRANGERS: dict[str, Callable[[Access], dict[str, str]]] = {
    "nothing": lambda access: {},
    "a wrong token": lambda access: {"Authorization": f"Bearer {'u' * 43}"},
    "part of the token": lambda access: {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "no token": lambda access: {"Authorization": "Bearer "},
    "the token as a password": lambda access: {"Authorization": f"Basic {TOKEN}"},
    "the token bare": lambda access: {"Authorization": TOKEN},
    "the token as a cookie": lambda access: _cookie(TOKEN),
    "a wrong token and a cookie": lambda access: {"Authorization": "Bearer x"} | _cookie(_good_cookie(access)),
    "another server's cookie": lambda access: _cookie(_good_cookie(access), PORT + 1),
    "a cookie of another token": lambda access: _cookie(_good_cookie(Access("u" * 43))),
    "an expired cookie": lambda access: _cookie(_expired()),
    "a forged cookie": lambda access: _cookie(f"{int(time.time()) + 1000}.{'0' * 64}"),
    "an odd cookie": lambda access: {"Cookie": 'a="; ;=;;=b; offload_8765; offload_8765=; ="x'},
}

FOREIGN: dict[str, dict[str, str]] = {
    "another site": {"Origin": "https://example.org"},
    "no site": {"Origin": "null"},
    "another port": {"Origin": f"http://127.0.0.1:{PORT + 1}"},
    "another scheme": {"Origin": f"https://{HOST}"},
    "another name of this machine": {"Origin": f"http://localhost:{PORT}"},
    "a subdomain": {"Origin": f"http://{HOST}.example.org"},
    "another name": {"Host": "example.org"},
    "another name with the port": {"Host": f"example.org:{PORT}"},
    "no port": {"Host": "127.0.0.1"},
    "the port of another": {"Host": f"127.0.0.1:{PORT + 1}"},
    "another address": {"Host": f"127.0.0.2:{PORT}"},
    "every address": {"Host": f"0.0.0.0:{PORT}"},
    "no name": {"Host": ""},
    "a name before": {"Host": f"example.org,{HOST}"},
    "a page of another site": {"Sec-Fetch-Site": "cross-site"},
    "a page of another port": {"Sec-Fetch-Site": "same-site"},
}


def _is_refused(answer: httpx.Response, status: int) -> bool:
    """Whether it is a problem of that status, with all headers."""
    told = answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    clean = HYGIENE.items() <= dict(answer.headers).items() and "sandbox" in answer.headers["content-security-policy"]
    code = {401: 7, 403: 7, 413: 8}.get(status, 2)
    known = {"status": status, "type": "about:blank", "exit_code": code}
    body = answer.request.method == "HEAD" or known.items() <= answer.json().items()
    return told and clean and body


@pytest.mark.parametrize("stranger", STRANGERS)
def test_no_route_lets_a_stranger_in(client: TestClient, access: Access, routes: list[Asked], stranger: str) -> None:
    headers = STRANGERS[stranger](access)
    for method, path in set(routes) - OPEN:
        answer = client.request(method, path, headers=headers)
        assert _is_refused(answer, 401), (method, path, answer.status_code)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_in_the_address_lets_nobody_in(client: TestClient, routes: list[Asked]) -> None:
    for method, path in set(routes) - OPEN:
        for query in ("token", "access_token", "authorization", "code"):
            assert _is_refused(client.request(method, path, params={query: TOKEN}), 401)


@pytest.mark.parametrize("foreign", FOREIGN)
def test_no_route_answers_a_foreign_page(client: TestClient, access: Access, routes: list[Asked], foreign: str) -> None:
    for method, path in routes:
        for let_in in (LET_IN, _cookie(_good_cookie(access))):
            answer = client.request(method, path, headers=let_in | FOREIGN[foreign])
            assert _is_refused(answer, 403), (method, path, answer.status_code)


@pytest.mark.parametrize("foreign", [name for name, headers in FOREIGN.items() if "Sec-Fetch-Site" not in headers])
def test_the_page_is_for_its_own_name_alone(client: TestClient, foreign: str) -> None:
    for path in ("/", "/index.html", "/app.js", "/nothing"):
        assert client.get(path, headers=FOREIGN[foreign]).status_code == 403


def test_the_page_is_free_and_may_run_only_what_is_ours(client: TestClient) -> None:
    for path in ("/", "/app.js", "/style.css"):
        answer = client.get(path, headers={"Sec-Fetch-Site": "cross-site"})  # a link may be anywhere
        assert answer.status_code == 200
        assert HYGIENE.items() <= dict(answer.headers).items()
        policy = answer.headers["content-security-policy"]
        assert (
            policy.startswith("default-src 'self';") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        )


def test_who_may_is_let_in(access: Access, routes: list[Asked]) -> None:
    """What was refused above was refused for what was wrong with it."""
    behind = Guard(PlainTextResponse("in"), access, [HOST], cookie_name(PORT))
    client = TestClient(behind, base_url=f"http://{HOST}")
    for method, path in routes:
        good = _cookie(_good_cookie(access))
        for headers in (
            LET_IN,
            {"authorization": f"bearer  {TOKEN} "},
            good,
            {"Cookie": f'x={{"a":1}}; {good["Cookie"]}'},
        ):
            for more in ({}, {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}):
                assert client.request(method, path, headers=headers | more).status_code == 200, (method, path)


def test_head_is_answered_as_get_is_without_a_body(client: TestClient, routes: list[Asked]) -> None:
    gets = {path for method, path in routes if method == "GET"}
    assert {path for method, path in routes if method == "HEAD"} == gets
    for path in gets:
        head = client.head(path, headers=LET_IN)
        assert head.status_code != 405 and head.content == b"", path
        if path in ("/v1/events", "/metrics"):  # the one has no end, and the other counts this
            assert head.status_code == 200
            continue
        get = client.get(path, headers=LET_IN)
        assert (head.status_code, head.headers.items()) == (get.status_code, get.headers.items()), path
    assert client.head("/v1/health").status_code == 401


def test_localhost_is_a_name_of_ours(client: TestClient) -> None:
    name = {"Host": f"localhost:{PORT}"}
    assert client.get("/", headers=name).status_code == 200
    assert client.get("/v1/nothing", headers=name | LET_IN | {"Origin": f"http://localhost:{PORT}"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v1/health/", 404),
        ("GET", "/nothing", 404),
        ("POST", "/v1/nothing", 404),
        ("POST", "/", 405),
        ("PUT", "/v1/links", 405),
        ("GET", "/v1/links", 405),
        ("HEAD", "/v1/links", 405),
        ("TRACE", "/v1/health", 405),
        ("DELETE", "/v1/health", 405),
        ("GET", "/" + "x" * 4000, 404),
        ("GET", "/%00", 404),
        ("GET", "/..%2f..%2fguard.py", 404),
        ("GET", "/%ff%fe", 404),
        ("GET", "//v1/health", 404),
        ("GET", "/v1/targets/%00%ff%2e%2e", 404),
    ],
)
def test_what_there_is_not_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, headers=LET_IN)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("allow" in answer.headers) == (status == 405)
    assert method == "HEAD" or answer.json()["exit_code"] == 2


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/jobs", "GET, HEAD, POST"),
        ("/v1/jobs/0", "DELETE, GET, HEAD"),
        ("/v1/blobs/0", "DELETE, GET, HEAD, PATCH"),
        ("/v1/links", "POST"),
        ("/index.html", "GET, HEAD"),
    ],
)
def test_a_method_that_there_is_not_is_told_all_that_there_are(client: TestClient, path: str, allowed: str) -> None:
    answer = client.put(path, headers=LET_IN)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_json_must_be_said_to_be_json(client: TestClient, kind: str | None) -> None:
    headers = LET_IN | ({"Content-Type": kind} if kind else {})
    for path in ("/v1/session", "/v1/jobs", "/v1/blobs", "/v1/plan"):
        assert _is_refused(client.post(path, headers=headers, content=b'{"code": "x"}'), 415), path


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"code": 1}',
        b'{"code": ""}',
        b'{"code": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"code": NaN}',
        b'{"code": "x", "more": 1}',
        b'{"code": "\xff"}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"1" * 10_000,
    ],
)
def test_what_makes_no_sense_is_a_problem(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/session", headers={"Content-Type": "application/json"}, content=body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json" and answer.json()["detail"]


@pytest.mark.parametrize("word", ["\\ud800", "\\u0000", "\\udfff\\ud800"])
def test_what_has_no_bytes_of_its_own_is_told_all_the_same(client: TestClient, word: str) -> None:
    """Half a surrogate pair, in a name that a problem repeats."""
    body = f'{{"service": "{word}", "inputs": [], "params": {{"{word}": "{word}"}}, "{word}": 1}}'
    answer = client.post("/v1/plan", headers=LET_IN | {"Content-Type": "application/json"}, content=body)
    assert answer.status_code == 422 and answer.json()["errors"]


def test_a_problem_may_name_a_file_whose_name_is_no_text() -> None:
    name = os.fsdecode(b"/home/\xff/clip.mp4")
    assert json.loads(problems.answer(503, f"{name} cannot be read").body)["detail"] == f"{name} cannot be read"


def test_a_body_is_not_too_large(serving: Serving) -> None:
    """Whether its length is told or not."""
    large, kind = b" " * (BODY_BYTES + 1), {"Content-Type": "application/json"}

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    with serving.http() as http:
        assert _is_refused(http.post("/v1/jobs", content=large, headers=kind), 413)
        assert _is_refused(http.post("/v1/jobs", content=pieces(), headers=kind), 413)
        assert _is_refused(http.post("/v1/blobs", content=pieces(), headers=kind), 413)
        assert http.post("/v1/jobs", content=large[:-1], headers=kind).status_code == 422
        assert http.get("/v1/health").status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/health HTTP/1.1\r\nHost: %b\r\nCookie: \xff\x80=\xfe; a\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: %b\r\nCookie: " + b"offload_1=" + b"9" * 30_000 + b"\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: %b\r\nAuthorization: Bearer \xc3\x28\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: %b\r\nHost: example.org\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: %b\r\nOrigin: \xff\r\n\r\n",
        b"GET /v1/health?\xff=%%zz HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"GET http://example.org/v1/health HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"GET /v1/health HTTP/1.0\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\n\r\n",
        b"POST /v1/session HTTP/1.1\r\nHost: %b\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/session HTTP/1.1\r\nHost: %b\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/session HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    ],
)
def test_odd_bytes_get_nobody_in_and_nothing_wrong(served: Serving, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as to:
        to.settimeout(120)
        to.sendall(head.replace(b"%b", f"127.0.0.1:{served.port}".encode()).replace(b"%%", b"%"))
        answer = to.recv(65536)
    assert answer == b"" or answer.split(b" ")[1][:1] == b"4", answer
    assert "Traceback" not in served.log.read_text()


def test_a_form_that_is_none_is_told_to_its_sender_alone(served: Serving) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=XX"}
    with served.http() as http:
        answer = http.post("/v1/audio/transcriptions", content=b"--XX no form", headers=kind)
    assert (answer.status_code, "cannot be read" in answer.json()["detail"]) == (400, True)
    assert "boundary" not in served.log.read_text()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for all odd bytes: it has to bear them one after the other."""
    folder = tmp_path_factory.mktemp("served")
    with Serving(folder, folders(folder)) as started:
        yield started


def folders(folder: Path) -> dict[str, str]:
    return {f"OFFLOAD_{name.upper()}_DIR": str(folder / name) for name in ("config", "state", "cache")}
