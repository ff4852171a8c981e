"""Before any route: who asks, from where, and how much. Nothing else decides that.

A page of another site can make a browser send requests here, and by its own name's address even read the answers (DNS
rebinding). So the request must be for a name of ours, come from no foreign page, and bring the token or our cookie.
"""

from __future__ import annotations

from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import problems
from server.access import Access

OPEN = {("POST", "/v1/session")}
"""What nobody needs to be let in for: to be let in. The page's own files hold no secret, and are free, too."""

GUARDED = ("/v1", "/metrics", "/openapi.json")
STREAMED = ("/v1/blobs", "/v1/audio")
"""Where bodies are large, and limited by the routes themselves."""

BODY_BYTES = 2_000_000

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def cookie_name(port: int) -> str:
    """Cookies are a machine's, not a port's: two servers must not overwrite each other's."""
    return f"offload_{port}"


class Guard:
    """Lets pass what may, answers the rest with a problem. `names` are the hosts we are reached by, as HOST:PORT."""

    def __init__(self, app: ASGIApp, access: Access, names: Collection[str], cookie: str) -> None:
        self._app, self._access, self._names, self._cookie = app, access, frozenset(names), cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused:
            await problems.answer(*refused)(scope, receive, send)
            return
        await self._app(scope, _limited(scope, receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._names:
            return 403, f"this server is not {host[:200]!r}", "use the address it printed"
        if origin is not None and origin != f"{scope['scheme']}://{host}":
            return 403, "a page of another site may not ask this", "open the server's own page"
        if _told_length(headers) > _limit(scope):
            return 413, f"a request has {BODY_BYTES} bytes at most here", "upload files with /v1/blobs"
        if self._is_free(scope) or self._is_known(headers):
            return None
        return 401, "the token is missing, or wrong", "offload serve --link prints a link to log in by"

    def _is_free(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return not path.startswith(GUARDED) or (scope["method"], path) in OPEN

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._access.knows(token.strip())
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return found is not None and self._access.recognises(found.value)


def _told_length(headers: Headers) -> int:
    told = headers.get("content-length", "")
    return int(told) if told.isdecimal() and len(told) < 20 else 0


def _limit(scope: Scope) -> float:
    return float("inf") if scope["path"].startswith(STREAMED) else BODY_BYTES


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


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sending
