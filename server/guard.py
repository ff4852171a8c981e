"""Before any route: who asks, from where, and how much. Nothing else decides that.

A page of another site can make a browser send requests here, and by its own name's address even read the answers (DNS
rebinding). So the request must be for a name of ours, come from no foreign page, and bring the token or our cookie.
"""

from __future__ import annotations

from collections.abc import Collection

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import problems
from server.access import Access

OPEN = {("POST", "/v1/session")}
"""What nobody needs to be let in for: to be let in. The page's own files hold no secret, and are free, too."""

GUARDED = ("/v1", "/metrics", "/openapi.json")
SPEECH = "/v1/audio"
STREAMED = {("PATCH", "/v1/blobs/"), ("POST", f"{SPEECH}/")}
"""What brings large bodies, by how its path begins: the routes limit them themselves."""

BODY_BYTES = 2_000_000

OURS = ("same-origin", "none")
"""What browsers say of a request by a page of ours, or typed by the user. Other ports of this machine are not ours."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
DATA_POLICY = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
)
"""What a client uploaded is nothing that may run, though a browser is pointed at it."""


def cookie_name(port: int) -> str:
    """Cookies are a machine's, not a port's: two servers must not overwrite each other's."""
    return f"offload_{port}"


class Guard:
    """Lets pass what may, answers the rest with a problem. `names` are the hosts we are reached by, as HOST:PORT."""

    def __init__(self, app: ASGIApp, access: Access, names: Collection[str], cookie: str) -> None:
        self._app, self._access, self._names, self._cookie = app, access, frozenset(names), cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        send = _with_headers(scope, send)
        refused = self._refusal(scope)
        if refused:
            more = problems.for_openai(*refused[:3]) if scope["path"].startswith(SPEECH) else {}
            await problems.answer(*refused, **more)(scope, receive, send)
            return
        await self._app(scope, _limited(scope, receive), send)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | tuple[int, str, str, dict[str, str]] | None:
        headers = Headers(scope=scope)
        host = ",".join(headers.getlist("host"))  # of two, who knows which a proxy or a browser went by
        if host not in self._names:
            return 403, f"this server is not {host[:200]!r}", "use the address it printed"
        if _is_foreign(scope, headers):
            return 403, "a page of another site may not ask this", "open the server's own page"
        if not (self._is_free(scope) or self._is_known(headers)):
            said = "the token is missing, or wrong"
            return 401, said, "offload serve --link prints a link to log in by", {"WWW-Authenticate": "Bearer"}
        if _told_length(headers) > _limit(scope):
            return 413, f"a request has {BODY_BYTES} bytes at most here", "upload files with /v1/blobs"
        return None

    def _is_free(self, scope: Scope) -> bool:
        return not is_guarded(scope) or (scope["method"], scope["path"]) in OPEN

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._access.knows(token.strip())
        return self._access.recognises(cookie_parser(headers.get("cookie", "")).get(self._cookie, ""))


def is_guarded(scope: Scope) -> bool:
    """Whether a request is for what must be let in for, whether there is such a thing or not."""
    return bool(scope["path"].startswith(GUARDED))


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    if any(origin != f"{scope['scheme']}://{headers['host']}" for origin in headers.getlist("origin")):
        return True
    # A link to the page may be anywhere. What follows from it is the page's own.
    return is_guarded(scope) and headers.get("sec-fetch-site", "none") not in OURS


def _told_length(headers: Headers) -> int:
    told = headers.get("content-length", "")
    return int(told) if told.isdecimal() and len(told) < 20 else 0


def _limit(scope: Scope) -> float:
    streams = any(scope["method"] == method and scope["path"].startswith(path) for method, path in STREAMED)
    return float("inf") if streams else BODY_BYTES


def _limited(scope: Scope, receive: Receive) -> Receive:
    """A body whose length was not told is counted as it comes."""
    got, most = 0, _limit(scope)

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise HTTPException(413, f"a request has {BODY_BYTES} bytes at most here; upload files with /v1/blobs")
        return message

    return counted


def _with_headers(scope: Scope, send: Send) -> Send:
    policy = DATA_POLICY if is_guarded(scope) else PAGE_POLICY

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS | {"content-security-policy": policy})
            headers.setdefault("cache-control", "no-cache")
        await send(message)

    return sending
