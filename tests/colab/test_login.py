"""A login in the browser, what is saved of it, and the access tokens it gives."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from executors.base import ExecutorError, NotInstalled, Refused, Unreachable
from executors.colab import browser, client, login
from executors.colab.address import Address
from executors.colab.login import Login, forget, saved
from tests.colab.double import Double, double
from tests.colab.double.oauth import COLAB
from tests.colab.person import Person, visit
from tests.services.typed import ROOT

HOUR = 3600.0
SECRET = "double-secret"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with double(tmp_path_factory.mktemp("login") / "google", warm=0) as google:
        yield google


@pytest.fixture
def google(opened: Double) -> Iterator[Double]:
    """Google, as if nobody had been there before."""
    yield opened
    oauth, faults = opened.oauth, opened.faults
    oauth.denies, oauth.grants, oauth.expires_in, oauth.client_secret = False, None, HOUR, SECRET
    for remembered in (oauth.asked, oauth.exchanged, faults.fail, faults.slow, faults.silent):
        remembered.clear()
    oauth.revoke()
    for left in opened.folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != "client.json":
            left.unlink()


def at(google: Double, **changed: object) -> Address:
    return Address.of("colab", google.options(**changed))


def logged_in(google: Double, **changed: object) -> Address:
    """A target whose login is saved."""
    google.log_in()
    return at(google, **changed)


def with_cgpu(google: Double, **changed: object) -> Address:
    """A target that finds a login of cgpu's, and has no client of its own."""
    google.log_in_cgpu()
    return at(google, client_file="", **changed)


def log_in(address: Address, person: Person | None = None, limit: float = 60.0) -> tuple[str, Person]:
    person = person or Person()
    try:
        return browser.log_in(address, person, show=False, limit=limit), person
    finally:
        person.done()


def refreshes(google: Double) -> int:
    return sum(form["grant_type"] == "refresh_token" for form in google.oauth.exchanged)


def files(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, mode and time of all files below a folder."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in found}


def secrets_of(google: Double) -> set[str]:
    """All that must be seen by nobody: what was sent to the token page, and what it gave."""
    oauth = google.oauth
    sent = {form[key] for form in oauth.exchanged for key in form.keys() & {"code", "code_verifier", "refresh_token"}}
    return sent | {oauth.client_secret, *oauth._refresh, *oauth._access}


def hides(google: Double, error: BaseException) -> bool:
    """Whether an error, with all that led to it, tells no secret."""
    told = "".join(traceback.format_exception(error)) + repr(vars(error))
    return not any(secret in told for secret in secrets_of(google))


# In the browser


def test_a_login_in_the_browser_is_saved_and_gives_tokens(google: Double) -> None:
    address = at(google)
    who, person = log_in(address)
    assert who == google.oauth.account
    assert person.pages[-1].status_code == 200
    assert "You may close this page" in person.pages[-1].text
    assert google.oauth.accepts(f"Bearer {Login(address).token()}")
    assert refreshes(google) == 0  # the one that came with the login
    (address.state / "access.json").unlink()
    assert google.oauth.accepts(f"Bearer {Login(address).token()}")


def test_the_page_is_asked_for_a_lasting_login_that_only_we_can_complete(google: Double) -> None:
    for _ in range(2):
        log_in(at(google))
    one, other = google.oauth.asked
    assert one["scope"].split() == ["profile", "email", COLAB]
    assert (one["access_type"], one["prompt"], one["code_challenge_method"]) == ("offline", "consent", "S256")
    assert one["redirect_uri"].startswith("http://127.0.0.1:")
    assert not {one[key] for key in ("state", "code_challenge")} & {other[key] for key in ("state", "code_challenge")}
    assert all(len(form["code_verifier"]) >= 43 for form in google.oauth.exchanged)


def test_only_we_can_read_what_is_saved(google: Double) -> None:
    address = at(google)
    address.state.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        log_in(address)
    finally:
        os.umask(before)
    assert address.state.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in address.state.iterdir()} == {"login.json", "access.json"}
    assert {path.stat().st_mode & 0o777 for path in address.state.iterdir()} == {0o600}


def test_an_answer_to_somebody_elses_question_is_refused_and_ours_still_counts(google: Double) -> None:
    elsewhere = [
        "?state=wrong&code=stolen",
        "?code=stolen",
        "?state=wr\u00f6ng&code=x",
        "?state=",
        "favicon.ico",
        "a/b?c=1",
    ]
    address = at(google)
    _, person = log_in(address, Person(*elsewhere))
    assert [page.status_code for page in person.pages] == [400, 400, 400, 400, 404, 404, 200]
    assert "Begin again" in person.pages[0].text
    assert [form["code"][:6] for form in google.oauth.exchanged] == ["4/code"]


def test_a_connection_on_which_nothing_is_said_holds_up_nobody(google: Double) -> None:
    person = Person()
    with ExitStack() as idle:

        def say(text: str) -> None:
            if text.startswith("http"):
                place = urlsplit(parse_qs(urlsplit(text).query)["redirect_uri"][0])
                idle.enter_context(socket.create_connection((place.hostname, place.port)))
            person(text)

        browser.log_in(at(google), say, show=False, limit=60)
    assert person.done()[-1].status_code == 200


def test_nothing_listens_any_more_once_it_is_over(google: Double) -> None:
    _, person = log_in(at(google))
    with pytest.raises(httpx.ConnectError):
        visit(str(person.pages[-1].url))


def test_who_says_no_is_told_so(google: Double) -> None:
    google.oauth.denies = True
    person = Person()
    with pytest.raises(Refused, match="access was not allowed on Google's page") as caught:
        log_in(at(google), person)
    assert (caught.value.step, caught.value.hint) == ("login", "offload targets login colab")
    assert "You are not logged in" in person.pages[-1].text
    assert not google.oauth.exchanged


def test_another_error_of_the_page_is_told_too(google: Double) -> None:
    def send_back(text: str) -> None:
        if text.startswith("http"):
            state = text.split("state=")[1].split("&")[0]
            person._first = (f"?state={state}&error=server_error%0Aevil",)
        person(text)

    google.faults.fail["login-page"] = 500
    person = Person()
    with pytest.raises(Refused, match="sent an error, and no login"):
        browser.log_in(at(google), send_back, show=False, limit=60)
    person.done()


def test_nobody_is_waited_for_without_end(google: Double) -> None:
    with pytest.raises(Refused, match=r"nobody logged in within 0\.1 s"):
        browser.log_in(at(google), lambda text: None, show=False, limit=0.1)


def test_a_box_that_was_not_ticked_is_named(google: Double) -> None:
    address = logged_in(google)
    before = files(address.state)
    google.oauth.grants = {"profile", "email"}
    with pytest.raises(Refused, match=f"no.* access to {COLAB}: leave its box"):
        log_in(address)
    assert files(address.state) == before


def test_an_answer_that_names_no_scopes_gives_all_that_was_asked_for(
    google: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = google.oauth._tokens
    monkeypatch.setattr(google.oauth, "_tokens", lambda scope: {**tokens(scope), "scope": ""})
    log_in(at(google))
    assert google.oauth.accepts(f"Bearer {Login(at(google)).token()}")


def test_a_login_that_would_not_last_is_refused(google: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google.oauth, "issue", lambda scope: "")
    address = at(google)
    with pytest.raises(Refused, match="for an hour only"):
        log_in(address)
    assert not address.state.exists()


@pytest.mark.parametrize("id_token", [None, "x.%%%.y", "x.e30.y", "x.W10.y", "x", ["x"]])
def test_where_google_does_not_tell_whose_login_it_is_nobody_does(
    google: Double, monkeypatch: pytest.MonkeyPatch, id_token: object
) -> None:
    tokens = google.oauth._tokens
    monkeypatch.setattr(google.oauth, "_tokens", lambda scope: {**tokens(scope), "id_token": id_token})
    assert log_in(at(google))[0] == ""


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (503, Unreachable, "answers 503: try again later"),
        (200, Unreachable, "something else than a login"),
        (0, Refused, "Google does not complete the login: it answers invalid_grant"),
    ],
)
def test_a_login_that_cannot_be_completed_leaves_the_one_before(
    google: Double, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[ExecutorError], told: str
) -> None:
    address = logged_in(google)
    before = files(address.state)
    if status:
        google.faults.fail["token-page"] = status
    else:
        monkeypatch.setattr(google.oauth, "_codes", Forgetful())
    with pytest.raises(kind, match=told) as caught:
        log_in(address)
    assert files(address.state) == before
    assert hides(google, caught.value)


class Forgetful(dict[str, Any]):
    """Keeps nothing."""

    def __setitem__(self, key: str, value: Any) -> None: ...


# Which client


def test_the_target_s_own_client_comes_before_cgpu_s(google: Double, tmp_path: Path) -> None:
    google.log_in_cgpu()
    cgpu = json.loads((google.folder / "cgpu/config.json").read_text()) | {"clientId": "cgpus"}
    (google.folder / "cgpu/config.json").write_text(json.dumps(cgpu))
    assert client.Client.of(at(google)).client_id == google.oauth.client_id
    assert client.Client.of(at(google, client_file="")).client_id == "cgpus"


def test_without_any_client_both_ways_to_one_are_named(google: Double) -> None:
    with pytest.raises(Refused) as caught:
        log_in(at(google, client_file=""))
    assert "https://console.cloud.google.com" in str(caught.value)
    assert str(google.folder / "cgpu/config.json") in str(caught.value)
    assert (caught.value.step, caught.value.hint) == ("login", "offload targets login colab --client-file FILE")


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"\xff", b'{"web": {"client_id": "a", "client_secret": "b"}}', b'{"installed": []}']
)
def test_a_client_file_that_is_none_is_refused(google: Double, content: bytes | None) -> None:
    file = google.folder / "other.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Refused, match=f"{file} cannot be used: ") as caught:
        log_in(at(google, client_file=file))
    assert caught.value.step == "login"


# Tokens


def test_a_token_is_asked_for_once_in_its_hour_by_all(google: Double) -> None:
    address = logged_in(google)
    login = Login(address)
    assert login.token() == login.token() == Login(address).token()
    assert refreshes(google) == 1


def test_a_token_that_is_good_for_less_than_a_minute_is_not_used(google: Double) -> None:
    google.oauth.expires_in = 59
    login = Login(logged_in(google))
    assert login.token() != login.token()
    google.oauth.expires_in = 120
    assert login.token() == login.token()


def test_a_token_that_was_refused_is_renewed_for_all(google: Double) -> None:
    address = logged_in(google)
    login, other = Login(address), Login(address)
    before = login.token(), other.token()
    google.oauth.expire()
    assert login.renew()
    assert google.oauth.accepts(f"Bearer {login.token()}")
    assert other.renew()
    assert other.token() == login.token() not in before
    assert refreshes(google) == 2


def test_threads_whose_token_is_refused_at_once_share_one_new_one(google: Double) -> None:
    login = Login(logged_in(google))
    barrier = threading.Barrier(8)
    told: list[tuple[str, str]] = []

    def work() -> None:
        barrier.wait()
        first = login.token()
        barrier.wait()
        assert login.renew()
        told.append((first, login.token()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8
    assert len(set(told)) == 1
    assert refreshes(google) == 2


ASK = """
import json, sys
from executors.colab.address import Address
from executors.colab.login import Login
login = Login(Address.of("colab", json.loads(sys.argv[1])))
for line in sys.stdin:  # when all are ready
    if line == "again\\n":
        assert login.renew()
    print(login.token(), flush=True)
"""


def test_eight_processes_at_once_share_one_token(google: Double) -> None:
    address = logged_in(google)
    words = [sys.executable, "-c", ASK, json.dumps(google.options(connect_timeout=60))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": ROOT, "text": True}
    google.faults.slow["token-page"] = 0.3  # time enough for all to want one
    processes = [subprocess.Popen(words, **pipes) for _ in range(8)]  # type: ignore[call-overload]
    told = [ask(processes, "once\n"), ask(processes, "again\n")]
    for process in processes:
        process.communicate()
    assert [len(tokens) for tokens in told] == [1, 1]
    assert told[0] != told[1]
    assert google.oauth.accepts(f"Bearer {told[1].pop()}")
    assert refreshes(google) == 2
    assert {path.name for path in address.state.iterdir()} == {"login.json", "access.json", "access.lock"}
    assert {path.stat().st_mode & 0o777 for path in address.state.iterdir()} == {0o600}


def ask(processes: list[subprocess.Popen[str]], line: str) -> set[str]:
    """Send all a line, and read the answers."""
    for process in processes:
        print(line, end="", file=process.stdin, flush=True)
    return {process.stdout.readline().strip() for process in processes if process.stdout}


def test_who_was_stopped_while_it_asked_holds_up_nobody_for_long(
    google: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, slept = logged_in(google), [0.0]
    clock = SimpleNamespace(time=time.time, monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(login, "time", clock)
    with (address.state / "access.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert google.oauth.accepts(f"Bearer {Login(address).token()}")
    assert sum(slept) == pytest.approx(address.timeout, abs=0.1)


def test_another_login_is_used_at_once(google: Double) -> None:
    address = logged_in(google)
    before = Login(address).token()
    logged_in(google)
    assert Login(address).token() != before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"text": "x", "until": "y", "mark": "z"}'])
def test_a_damaged_token_is_replaced(google: Double, content: str) -> None:
    address = logged_in(google)
    (address.state / "access.json").write_text(content)
    (address.state / "access.json").chmod(0o600)
    assert google.oauth.accepts(f"Bearer {Login(address).token()}")
    assert Login(address).token() in (address.state / "access.json").read_text()


def test_a_token_that_others_could_read_is_replaced(google: Double) -> None:
    address = logged_in(google)
    before = Login(address).token()
    (address.state / "access.json").chmod(0o644)
    assert Login(address).token() != before
    assert (address.state / "access.json").stat().st_mode & 0o777 == 0o600


def test_where_no_token_can_be_saved_there_still_is_one(google: Double) -> None:
    (google.folder / "file").touch()
    login = Login(with_cgpu(google, state=google.folder / "file/state"))
    assert google.oauth.accepts(f"Bearer {login.token()}")
    assert login.token() == login.token()


def test_a_login_that_cannot_be_saved_is_told(google: Double) -> None:
    (google.folder / "file").touch()
    with pytest.raises(Refused, match=r"nothing can be saved in .*file/state: Not a directory"):
        log_in(at(google, state=google.folder / "file/state"))


# What can be wrong with a login


def test_who_is_not_logged_in_is_told_what_to_type(google: Double) -> None:
    with pytest.raises(Refused, match="colab: you are not logged in to Colab") as caught:
        Login(at(google)).token()
    assert (caught.value.step, caught.value.hint) == ("login", "offload targets login colab")
    assert not google.oauth.exchanged


def test_a_login_that_others_can_read_is_refused(google: Double) -> None:
    address = logged_in(google)
    file = address.state / "login.json"
    file.chmod(0o640)
    with pytest.raises(Refused, match=r"can be read by others \(its mode is 0640\)") as caught:
        Login(address).token()
    assert caught.value.hint == f"chmod 600 {file}"
    subprocess.run(caught.value.hint, shell=True, check=True)
    assert Login(address).token()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"client_id": "a", "client_secret": "b"}'])
def test_a_damaged_login_is_refused_and_stays(google: Double, content: bytes) -> None:
    address = logged_in(google)
    file = address.state / "login.json"
    file.write_bytes(content)
    with pytest.raises(Refused, match=r"login\.json is damaged") as caught:
        Login(address).token()
    assert caught.value.hint == "offload targets login colab"
    assert file.read_bytes() == content


@pytest.mark.parametrize("make", [logged_in, with_cgpu])
def test_a_login_that_was_revoked_is_refused_and_stays(google: Double, make: Callable[[Double], Address]) -> None:
    address = make(google)
    login = Login(address)
    login.token()
    before, cgpu = files(address.state), files(address.cgpu)
    known = secrets_of(google)
    google.oauth.revoke()
    with pytest.raises(Refused, match=r"Google does not take .* any more: it was revoked or has expired") as caught:
        login.renew()
    assert ("cgpu" in str(caught.value)) == (make is with_cgpu)
    assert (caught.value.step, caught.value.hint) == ("login", "offload targets login colab")
    assert (files(address.state), files(address.cgpu)) == (before, cgpu)
    assert not any(secret in "".join(traceback.format_exception(caught.value)) for secret in known)


def test_a_client_that_google_does_not_know_is_told(google: Double) -> None:
    address = logged_in(google)
    google.oauth.client_secret = "another"
    with pytest.raises(Refused, match="it answers invalid_client to the OAuth client"):
        Login(address).token()


UNKNOWN = "http://nobody.invalid/token"


@pytest.mark.parametrize("make", [logged_in, with_cgpu])
@pytest.mark.parametrize(
    ("fault", "options", "step", "told"),
    [
        ("offline", {}, "TCP", "no connection to 127.0.0.1:[0-9]+: connection refused"),
        ("", {"token_page": UNKNOWN}, "name", "the name of nobody.invalid is not known: .*are you online"),
        ("silent", {"connect_timeout": 0.3}, "login", r"no answer from 127.0.0.1:[0-9]+ within 0\.3 s"),
        ("500", {}, "login", "answers 500: try again later"),
        ("503", {}, "login", "answers 503: try again later"),
        ("429", {}, "login", "answers 429: try again later"),
        ("200", {}, "login", "answers 200 with something else than a login; is a proxy"),
        ("302", {}, "login", "answers 302 with something else than a login; is a proxy"),
        ("403", {}, "login", "answers 403 with something else than a login; is a proxy"),
        ("tls", {}, "TLS", "does not speak TLS"),
    ],
)
def test_what_time_may_mend_is_no_refusal_and_the_login_stays(
    google: Double,
    make: Callable[..., Address],
    fault: str,
    options: dict[str, object],
    step: str,
    told: str,
) -> None:
    if fault == "tls":
        options = {"token_page": google.url.replace("http:", "https:")}
    address = make(google, **options)
    before, cgpu = files(address.state), files(address.cgpu)
    with broken(google, fault), pytest.raises(Unreachable, match=told) as caught:
        Login(address).token()
    assert str(caught.value).startswith("colab: ")
    assert (caught.value.step, caught.value.exit_code) == (step, 5)
    after = {name: about for name, about in files(address.state).items() if not name.endswith("access.lock")}
    assert (after, files(address.cgpu)) == (before, cgpu)
    assert hides(google, caught.value)


def broken(google: Double, fault: str) -> AbstractContextManager[None]:
    if fault.isdigit():
        google.faults.fail["token-page"] = int(fault)
    if fault == "silent":
        google.faults.silent.add("token-page")
    return google.offline() if fault == "offline" else nullcontext()


def test_no_proxy_is_asked_for_a_page_of_this_machine(google: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    address = logged_in(google)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert google.oauth.accepts(f"Bearer {Login(address).token()}")


def test_google_is_waited_for_as_long_as_the_target_says(google: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    class Client(httpx.Client):
        def __init__(self, timeout: float, trust_env: bool) -> None:
            waited.append(timeout)
            super().__init__(timeout=timeout, trust_env=trust_env)

    monkeypatch.setattr(httpx, "Client", Client)
    Login(logged_in(google, connect_timeout=7)).token()
    assert waited == [7]


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": 7, "expires_in": 3600},
        {"access_token": "", "expires_in": 3600},
        {"access_token": "a\nb: c", "expires_in": 3600},
        {"access_token": "ya29.x", "expires_in": "soon"},
        {"access_token": "ya29.x"},
        ["ya29.x"],
    ],
)
def test_an_answer_that_is_no_token_is_not_taken_for_one(
    google: Double, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    address = logged_in(google)
    monkeypatch.setattr(google.oauth, "_tokens", lambda scope: answer)
    with pytest.raises(Unreachable, match="answers 200 with something else than a login") as caught:
        Login(address).token()
    assert "ya29" not in "".join(traceback.format_exception(caught.value))


def test_without_httpx_it_is_told_what_to_install(google: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(NotInstalled) as caught:
        Login(logged_in(google)).token()
    assert caught.value.hint == "pip install 'offload-broker[colab]'"


def test_what_holds_a_secret_does_not_show_it(google: Double) -> None:
    address = logged_in(google)
    login = Login(address)
    login.token()
    granted = client.ask(address, saved(address).client, grant_type="refresh_token", refresh_token=google.oauth.issue())
    shown = repr([login, vars(login), saved(address), saved(address).client, granted])
    assert not any(secret in shown for secret in secrets_of(google))


# cgpu's login, and none


def test_the_login_of_cgpu_is_used_as_it_is(google: Double) -> None:
    address = with_cgpu(google)
    before = files(address.cgpu)
    assert google.oauth.accepts(f"Bearer {Login(address).token()}")
    assert files(address.cgpu) == before
    assert not (address.state / "login.json").exists()


def test_a_login_of_our_own_comes_before_cgpu_s(google: Double) -> None:
    address = with_cgpu(google)
    before = files(address.cgpu)
    log_in(address)
    assert not saved(address).of_cgpu
    assert forget(address)
    assert saved(address).of_cgpu
    assert not forget(address)
    assert files(address.cgpu) == before


def test_cgpu_may_keep_its_login_in_another_place(google: Double) -> None:
    address = with_cgpu(google)
    config = address.cgpu / "config.json"
    elsewhere = google.folder / "elsewhere"
    (address.cgpu / "state").rename(elsewhere)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"storageDir": str(elsewhere)}))
    assert google.oauth.accepts(f"Bearer {Login(address).token()}")


@pytest.mark.parametrize("file", ["config.json", "state/session.json"])
def test_a_damaged_file_of_cgpu_s_is_named_and_stays(google: Double, file: str) -> None:
    address = with_cgpu(google)
    (address.cgpu / file).write_bytes(b"{")
    before = files(address.cgpu)
    with pytest.raises(Refused, match=rf"cgpu's .*{file} is damaged"):
        Login(address).token()
    assert files(address.cgpu) == before


def test_what_was_forgotten_is_gone(google: Double) -> None:
    address = logged_in(google)
    Login(address).token()
    assert forget(address)
    assert {path.name for path in address.state.iterdir()} == {"access.lock"}
    with pytest.raises(Refused, match="not logged in"):
        Login(address).token()
