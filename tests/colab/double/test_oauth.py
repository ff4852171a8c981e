"""The login pages, from the question to the tokens."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qsl

import httpx
import pytest

from executors.colab.address import Address
from executors.colab.login import Login
from executors.colab.places import SCOPES
from tests.colab.double import Double
from tests.colab.double.asking import get
from tests.colab.double.runtime import plain
from tests.executors.sshd import free_port

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
