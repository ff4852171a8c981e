"""`offload targets login|logout`, as a person types them, with a browser or without."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings, targets
from executors.colab.address import Address
from executors.colab.login import Login
from tests.colab import person
from tests.colab.double import Double, double
from tests.services.test_lazy import imported
from tests.services.typed import OFFLOAD, Said, environment, offload

LOGIN = ("targets", "login", "colab")
LOGOUT = ("targets", "logout", "colab")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with double(tmp_path_factory.mktemp("login") / "google", warm=0) as google:
        yield google


@pytest.fixture
def google(opened: Double, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """Google, with a target that leads there, and a browser."""
    configure(opened)
    monkeypatch.setenv("BROWSER", shlex.join([sys.executable, person.__file__, "%s"]))
    yield opened
    opened.oauth.denies = False
    opened.oauth.exchanged.clear()
    opened.oauth.revoke()
    for folder in ("state", "cgpu"):
        shutil.rmtree(opened.folder / folder, ignore_errors=True)


def configure(google: Double, **changed: object) -> None:
    """Have the target `colab`."""
    config = settings.load()
    if "colab" in targets.load(config):
        targets.remove(config, "colab")
    targets.add(config, "colab", {key: value for key, value in google.options(**changed).items() if value})


def accepted(google: Double) -> bool:
    """Whether the target is logged in."""
    return google.oauth.accepts(f"Bearer {Login(Address.of('colab', google.options())).token()}")


def cgpu(google: Double) -> dict[Path, bytes]:
    """All that cgpu keeps."""
    return {path: path.read_bytes() for path in (google.folder / "cgpu").rglob("*") if path.is_file()}


def tells_nothing(google: Double, said: Said) -> bool:
    """Whether a command said nothing that must be seen by nobody."""
    oauth = google.oauth
    sent = {form[key] for form in oauth.exchanged for key in form.keys() & {"code", "code_verifier", "refresh_token"}}
    hidden = sent | {oauth.client_secret, *oauth._refresh, *oauth._access}
    return not any(secret in said.err + os.fsdecode(said.out) for secret in hidden)


def test_a_person_logs_in_with_the_browser_that_opens(here: Path, google: Double) -> None:
    said = offload(here, *LOGIN)
    assert (said.code, said.out) == (0, b""), said.err
    asked, page, done = said.err.splitlines()
    assert asked == "log in to Google on this page:"
    assert page.startswith(f"{google.url}/o/oauth2/v2/auth?")
    assert done == f"logged in as {google.oauth.account}; now see whether it works: offload targets test colab"
    assert accepted(google)
    assert tells_nothing(google, said)
    assert (google.folder / "state/login.json").stat().st_mode & 0o777 == 0o600


def test_a_page_that_no_browser_opens_can_be_opened_by_hand(here: Path, google: Double) -> None:
    with typed(here, *LOGIN, "--no-browser") as process:
        page = told(process)[1]
        assert not google.oauth.exchanged
        assert "You may close this page" in person.visit(page).text
        assert process.stderr is not None
        assert "logged in as" in process.stderr.read()
    assert process.returncode == 0
    assert accepted(google)


STAYS_OPEN = """#!/bin/sh
"{python}" "{person}" "$1"
for second in $(seq 60); do [ -e closed ] && exit; sleep 1; done
touch given-up
"""


def test_a_browser_that_stays_open_keeps_nobody(here: Path, google: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "browser").write_text(STAYS_OPEN.format(python=sys.executable, person=person.__file__))
    (here / "browser").chmod(0o755)
    monkeypatch.setenv("BROWSER", str(here / "browser"))
    with typed(here, *LOGIN) as process:
        assert process.wait() == 0
        assert not (here / "given-up").exists()
        (here / "closed").touch()
    assert accepted(google)


@pytest.mark.parametrize("browser", ["w3m", "/nowhere/lynx"])
def test_a_browser_that_would_take_the_terminal_is_not_opened(
    here: Path, google: Double, monkeypatch: pytest.MonkeyPatch, browser: str
) -> None:
    (here / "w3m").write_text(f"#!/bin/sh\ntouch {here}/opened\n")
    (here / "w3m").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    monkeypatch.setenv("BROWSER", browser)
    with typed(here, *LOGIN) as process:
        _, page, advice = told(process)
        port = page.split("127.0.0.1%3A")[1].split("%2F")[0]
        assert advice.endswith(f"ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")
        process.send_signal(signal.SIGINT)
    assert not (here / "opened").exists()


def test_ctrl_c_ends_it_and_leaves_nothing(here: Path, google: Double) -> None:
    with typed(here, *LOGIN, "--no-browser") as process:
        told(process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.strip() == "error: interrupted before anything was done"
    assert not (google.folder / "state").exists()


def typed(here: Path, *words: str) -> subprocess.Popen[str]:
    """Type a command that goes on for a while."""
    return subprocess.Popen([*OFFLOAD, *words], cwd=here, env=environment(), stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> list[str]:
    """The three lines that a login without a browser begins with."""
    assert process.stderr is not None
    return [process.stderr.readline().strip() for _ in range(3)]


def test_who_does_not_log_in_in_time_is_told_what_to_type(here: Path, google: Double) -> None:
    said = offload(here, *LOGIN, "--no-browser", "--wait", "1")
    assert said.code == 7
    assert "nobody logged in within 1 s" in said.err
    assert said.err.endswith("offload targets login colab\n")


def test_who_says_no_is_told_so(here: Path, google: Double) -> None:
    google.oauth.denies = True
    said = offload(here, *LOGIN)
    assert said.code == 7
    assert "access was not allowed on Google's page" in said.err


def test_offline_is_told_as_that(here: Path, google: Double) -> None:
    google.log_in_cgpu()
    before = cgpu(google)
    with google.offline():
        said = offload(here, *LOGIN)
    assert said.code == 5
    assert "connection refused" in said.err
    assert cgpu(google) == before


@pytest.mark.parametrize(("name", "told"), [("local", "no Colab target"), ("nobody", "no target named 'nobody'")])
@pytest.mark.parametrize("verb", ["login", "logout"])
def test_there_is_nothing_to_log_in_to_elsewhere(here: Path, verb: str, name: str, told: str) -> None:
    said = offload(here, "targets", verb, name)
    assert said.code == 2
    assert told in said.err


def test_a_client_is_named_in_the_file_or_as_an_option(here: Path, google: Double) -> None:
    configure(google, client_file="")
    said = offload(here, *LOGIN)
    assert said.code == 7
    assert "console.cloud.google.com" in said.err
    assert f"{google.folder}/cgpu/config.json" in said.err
    assert "--client-file FILE" in said.err
    assert offload(here, *LOGIN, "--client-file", str(google.folder / "client.json")).code == 0
    assert accepted(google)


def test_a_list_tells_at_once_who_has_logged_in_and_out(here: Path, google: Double) -> None:
    for verb, state in ((LOGIN, "up"), (LOGOUT, "refused"), (LOGIN, "up")):
        assert offload(here, *verb).code == 0
        assert offload(here, "targets", "ls").lines[0].startswith(f"colab\tcolab\t{state}\t")


def test_the_login_of_cgpu_will_do(here: Path, google: Double) -> None:
    google.log_in_cgpu()
    before = cgpu(google)
    said = offload(here, *LOGIN)
    assert said.code == 0
    assert "the login of cgpu is used, and works: there is nothing to do" in said.err
    assert not (google.folder / "state/login.json").exists()
    assert offload(here, *LOGIN, "--own").code == 0
    assert (google.folder / "state/login.json").exists()
    assert cgpu(google) == before
    assert tells_nothing(google, said)


def test_a_login_of_cgpu_that_was_revoked_is_replaced_by_ours(here: Path, google: Double) -> None:
    google.log_in_cgpu()
    before = cgpu(google)
    assert offload(here, *LOGIN).code == 0
    google.oauth.revoke()
    said = offload(here, *LOGIN)
    assert said.code == 0
    assert "Google does not take the login of cgpu any more" in said.err
    assert accepted(google)
    assert cgpu(google) == before
    assert tells_nothing(google, said)


def test_a_logout_deletes_ours_and_says_what_is_left(here: Path, google: Double) -> None:
    assert offload(here, *LOGIN).code == 0
    said = offload(here, *LOGOUT)
    assert (said.code, said.out) == (0, b"")
    assert "deleted here" in said.err
    assert "https://myaccount.google.com/permissions" in said.err
    assert not list((google.folder / "state").glob("*.json"))
    assert "has no login of its own" in offload(here, *LOGOUT).err


def test_a_logout_leaves_the_login_of_cgpu(here: Path, google: Double) -> None:
    google.log_in_cgpu()
    before = cgpu(google)
    said = offload(here, *LOGOUT)
    assert said.code == 0
    assert said.err.splitlines() == ["colab has no login of its own", "colab uses the login of cgpu, which stays"]
    assert cgpu(google) == before


def test_names_of_colab_targets_are_completed(here: Path, google: Double) -> None:
    targets.add(settings.load(), "box", {"url": "local:///box"})
    said = offload(
        here,
        env={"_OFFLOAD_COMPLETE": "bash_complete", "COMP_WORDS": "offload targets login ", "COMP_CWORD": "3"},
    )
    assert said.lines == ["plain,colab"]


def test_help_imports_nothing_that_logs_in(here: Path) -> None:
    code, names = imported(here, "offload", "targets", "login", "--help")
    assert code == 0
    assert not names & {"httpx", "http", "webbrowser", "socketserver", "ssl"}
