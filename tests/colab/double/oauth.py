"""Google's pages for logging in, as far as a program for a desktop meets them."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from threading import RLock
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from tests.colab.double.faults import Faults

Fields = dict[str, str]

COLAB_SCOPE = "https://www.googleapis.com/auth/colaboratory"


class OAuth:
    """Knobs: `client_id` and `client_secret` ("" for none) of the one client it knows; `denies` for a user who says no;
    `grants`, scopes that the user leaves ticked (None for all); `expires_in`, seconds of an access token.

    `asked` are the queries of the login page, `exchanged` the forms of the token page, oldest first.
    """

    def __init__(self, faults: Faults) -> None:
        self.client_id, self.client_secret = "double.apps.googleusercontent.com", "double-secret"
        self.denies = False
        self.grants: set[str] | None = None
        self.expires_in = 3600.0
        self.asked: list[Fields] = []
        self.exchanged: list[Fields] = []
        self._lock = RLock()
        self._codes: dict[str, Fields] = {}
        self._refresh: dict[str, str] = {}
        self._access: dict[str, float] = {}
        self.router = APIRouter()
        self._add("/o/oauth2/v2/auth", "GET", self._login_page, faults, "login-page")
        self._add("/token", "POST", self._token_page, faults, "token-page")

    def _add(self, path: str, method: str, page: object, faults: Faults, name: str) -> None:
        self.router.add_api_route(path, page, methods=[method], dependencies=[Depends(faults.before(name))])

    # What tests ask for

    def accepts(self, header: str) -> bool:
        """Whether the header Authorization holds an access token that is good."""
        kind, _, token = header.partition(" ")
        return kind == "Bearer" and self._access.get(token, 0) > time.time()

    def issue(self, scope: str = f"profile email {COLAB_SCOPE}") -> str:
        """Log in without pages; a refresh token."""
        token = f"1//refresh-{secrets.token_urlsafe(24)}"
        self._refresh[token] = scope
        return token

    def access(self) -> str:
        """Make an access token without pages."""
        with self._lock:
            token = f"ya29.access-{secrets.token_urlsafe(24)}"
            self._access[token] = time.time() + self.expires_in
            return token

    def revoke(self) -> None:
        """Take back all logins, as a user can, and their access tokens."""
        self._refresh.clear()
        self.expire()

    def expire(self) -> None:
        """Make all access tokens invalid; refresh tokens are good for new ones."""
        self._access.clear()

    # The pages

    def _login_page(self, request: Request) -> Response:
        query = dict(request.query_params)
        self.asked.append(query)
        if wrong := self._wrong(query):
            return HTMLResponse(f"<h1>Access blocked: Authorization Error</h1><p>Error 400: {wrong}", 400)
        if self.denies:
            return _back(query, {"error": "access_denied"})
        code = f"4/code-{secrets.token_urlsafe(16)}"
        with self._lock:
            self._codes[code] = query
        return _back(query, {"code": code, "scope": self._granted(query)})

    def _wrong(self, query: Fields) -> str:
        back = urlsplit(query.get("redirect_uri", ""))
        checks = {
            "invalid_client": query.get("client_id") == self.client_id,
            "redirect_uri_mismatch": back.scheme == "http" and back.hostname in ("127.0.0.1", "localhost", "::1"),
            "unsupported_response_type": query.get("response_type") == "code",
            "invalid_scope": COLAB_SCOPE in query.get("scope", "").split(),
            "invalid_request: code_challenge": len(query.get("code_challenge", "")) == 43,
            "invalid_request: code_challenge_method": query.get("code_challenge_method") == "S256",
            "invalid_request: state": bool(query.get("state")),
        }
        return next((name for name, right in checks.items() if not right), "")

    def _granted(self, query: Fields) -> str:
        words = query["scope"].split()
        return " ".join(word for word in words if self.grants is None or word in self.grants)

    async def _form(request: Request) -> Fields:  # type: ignore[misc] # noqa: N805
        return dict(parse_qsl((await request.body()).decode()))

    def _token_page(self, form: Annotated[Fields, Depends(_form)]) -> Response:
        self.exchanged.append(form)
        secret = form.get("client_secret", "")
        if form.get("client_id") != self.client_id or (self.client_secret and secret != self.client_secret):
            return _error("invalid_client", 401)
        grants = {"authorization_code": self._exchange, "refresh_token": self._renew}
        if form.get("grant_type") not in grants:
            return _error("unsupported_grant_type")
        with self._lock:
            return grants[form["grant_type"]](form)

    def _exchange(self, form: Fields) -> Response:
        query = self._codes.pop(form.get("code", ""), None)  # good for one try
        if query is None or form.get("redirect_uri") != query["redirect_uri"]:
            return _error("invalid_grant")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != query["code_challenge"]:
            return _error("invalid_grant")
        answer = self._tokens(self._granted(query))
        if query.get("access_type") == "offline" and query.get("prompt") == "consent":
            answer["refresh_token"] = self.issue(self._granted(query))
        return JSONResponse(answer)

    def _renew(self, form: Fields) -> Response:
        scope = self._refresh.get(form.get("refresh_token", ""))
        return _error("invalid_grant") if scope is None else JSONResponse(self._tokens(scope))

    def _tokens(self, scope: str) -> dict[str, object]:
        return {
            "access_token": self.access(),
            "expires_in": int(self.expires_in),
            "scope": scope,
            "token_type": "Bearer",
        }


def _back(query: Fields, answer: Fields) -> Response:
    return RedirectResponse(f"{query['redirect_uri']}?{urlencode({'state': query['state'], **answer})}", 302)


def _error(name: str, status: int = 400) -> Response:
    said = "Token has been expired or revoked." if name == "invalid_grant" else "Unauthorized"
    return JSONResponse({"error": name, "error_description": said}, status)
