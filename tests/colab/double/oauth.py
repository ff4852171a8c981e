"""Google's pages for logging in, as far as a program for a desktop meets them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from tests.colab.double.faults import Faults

Fields = dict[str, str]

COLAB = "https://www.googleapis.com/auth/colaboratory"
SPELLED = {
    "email": "https://www.googleapis.com/auth/userinfo.email",
    "profile": "https://www.googleapis.com/auth/userinfo.profile",
}
"""How the answer spells scopes that may be asked for by a word."""


class OAuth:
    """One user, and one client that is known. Knobs:

    - `client_id`, `client_secret`: the client; no secret is asked for when it is empty
    - `denies`: the user says no
    - `grants`: the scopes that the user leaves ticked, as they were asked for; None for all
    - `expires_in`: seconds of an access token
    - `account`: the user's address

    `asked` are the queries of the login page and `exchanged` the forms of the token page, the oldest first.
    """

    def __init__(self) -> None:
        self.client_id, self.client_secret = "double.apps.googleusercontent.com", "double-secret"
        self.account = "somebody@example.com"
        self.denies = False
        self.grants: set[str] | None = None
        self.expires_in: float = 3600
        self.asked: list[Fields] = []
        self.exchanged: list[Fields] = []
        self._codes: dict[str, Fields] = {}
        self._refresh: dict[str, str] = {}
        self._access: dict[str, float] = {}

    def router(self, faults: Faults) -> APIRouter:
        """The two pages."""
        router = APIRouter(route_class=faults.routes())
        router.get("/o/oauth2/v2/auth", name="login-page")(self._login_page)
        router.post("/token", name="token-page")(self._token_page)
        return router

    # What tests ask for

    def accepts(self, header: str) -> bool:
        """Whether a header Authorization holds an access token that is good."""
        kind, _, token = header.partition(" ")
        return kind == "Bearer" and self._access.get(token, 0) > time.time()

    def issue(self, scope: str = f"profile email {COLAB}") -> str:
        """Make a refresh token, as a login does."""
        token = f"1//refresh-{secrets.token_urlsafe(24)}"
        self._refresh[token] = scope
        return token

    def access(self) -> str:
        """Make an access token, as a login does."""
        token = f"ya29.access-{secrets.token_urlsafe(24)}"
        self._access[token] = time.time() + self.expires_in
        return token

    def expire(self) -> None:
        """Make all access tokens invalid at once. Refresh tokens are good for new ones."""
        self._access.clear()

    def revoke(self) -> None:
        """Take all logins back, as a user can: no token is good any more."""
        self._refresh.clear()
        self._access.clear()

    # The pages

    def _login_page(self, request: Request) -> Response:
        query = dict(request.query_params)
        self.asked.append(query)
        if wrong := self._wrong(query):
            return HTMLResponse(f"<h1>Access blocked</h1><p>Error 400: {wrong}</p>", 400)
        if self.denies:
            return _back(query, {"error": "access_denied"})
        code = f"4/code-{secrets.token_urlsafe(16)}"
        self._codes[code] = query
        return _back(query, {"code": code, "scope": self._granted(query)})

    def _wrong(self, query: Fields) -> str:
        back = urlsplit(query.get("redirect_uri", ""))
        checks = {
            "invalid_client": query.get("client_id") == self.client_id,
            "redirect_uri_mismatch": back.scheme == "http" and back.hostname in ("127.0.0.1", "localhost", "::1"),
            "invalid_request: response_type": query.get("response_type") == "code",
            "invalid_request: scope": bool(query.get("scope")),
            "invalid_request: code_challenge": len(query.get("code_challenge", "")) == 43,
            "invalid_request: code_challenge_method": query.get("code_challenge_method") == "S256",
            "invalid_request: state": bool(query.get("state")),
        }
        return next((name for name, right in checks.items() if not right), "")

    def _granted(self, query: Fields) -> str:
        left = [word for word in query["scope"].split() if self.grants is None or word in self.grants]
        return " ".join(["openid", *(SPELLED.get(word, word) for word in left)])

    def _token_page(self, form: Annotated[Fields, Depends(_form)]) -> Response:
        self.exchanged.append(form)
        if not self._knows(form):
            return _error("invalid_client", "Unauthorized", 401)
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        if form.get("grant_type") == "refresh_token":
            return self._renew(form)
        return _error("unsupported_grant_type", "Invalid grant_type")

    def _knows(self, form: Fields) -> bool:
        secret = not self.client_secret or form.get("client_secret") == self.client_secret
        return secret and form.get("client_id") == self.client_id

    def _exchange(self, form: Fields) -> Response:
        query = self._codes.pop(form.get("code", ""), None)  # it is good for one try
        if query is None or _challenge(form.get("code_verifier", "")) != query["code_challenge"]:
            return _error("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != query["redirect_uri"]:
            return _error("redirect_uri_mismatch", "Bad Request")
        answer = self._tokens(self._granted(query))
        if query.get("access_type") == "offline" and query.get("prompt") == "consent":
            answer["refresh_token"] = self.issue(self._granted(query))
        return JSONResponse(answer)

    def _renew(self, form: Fields) -> Response:
        scope = self._refresh.get(form.get("refresh_token", ""))
        if scope is None:
            return _error("invalid_grant", "Token has been expired or revoked.")
        return JSONResponse(self._tokens(scope))

    def _tokens(self, scope: str) -> dict[str, object]:
        who = _jwt({"iss": "https://accounts.google.com", "aud": self.client_id, "email": self.account})
        token = {"access_token": self.access(), "expires_in": self.expires_in, "token_type": "Bearer"}
        return {**token, "scope": scope, "id_token": who}


async def _form(request: Request) -> Fields:
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def _back(query: Fields, answer: Fields) -> Response:
    return RedirectResponse(f"{query['redirect_uri']}?{urlencode({'state': query['state'], **answer})}", 302)


def _error(name: str, said: str, status: int = 400) -> Response:
    return JSONResponse({"error": name, "error_description": said}, status)


def _challenge(verifier: str) -> str:
    return _base64(hashlib.sha256(verifier.encode()).digest())


def _jwt(claims: Mapping[str, str]) -> str:
    head, body = (_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    return f"{head}.{body}.{_base64(secrets.token_bytes(32))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
