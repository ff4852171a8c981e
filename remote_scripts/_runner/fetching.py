"""Fetching a file over HTTP: from the byte where it broke off, again and again, as the environment's proxies allow."""

from __future__ import annotations

import http.client
import time
from typing import Any, Iterator, Optional, Tuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from _runner.store import Part

CHUNK = 1024 * 1024
TIMEOUT = 20.0
"""Seconds without a byte after which a connection counts as broken."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between tries that brought nothing; after the last, it is given up."""
UNREACHED = 2
"""Pauses of these after which a server that never answered is given up."""
LONGEST = 60.0
"""Most seconds that a server may ask us to stay away."""
TICK = 0.1


class Failed(Exception):
    """It cannot be had; says why, without saying what was sent."""


class Unreachable(Failed):
    """The server never answered."""


class Different(Failed):
    """The server has something else than what was pinned."""


class Refused(Failed):
    """The server answered that it will not: its status, and the hub's own word for why."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__("the server answered %d" % status)
        self.status = status
        self.code = code


class _Broken(Exception):
    """It broke off, and may work if tried again, after `pause` seconds at least."""

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause


class _Unreached(_Broken):
    """There was no answer."""


def fetch(url: str, token: str, part: Part, size: Optional[int]) -> Iterator[None]:
    """Bring the file at `url` into `part`, from where that ends on; yields often, so that it can be given up.

    Raises:
        Refused: asked again, the server would say the same.
        Different: it is of another size.
        Unreachable, Failed: it was tried often enough.
        OSError: of this machine's disk.
    """
    barren, patience = 0, UNREACHED
    while size is None or part.size < size:
        before = part.size
        try:
            yield from _transfer(url, token, part, size)
            return
        except _Broken as error:
            barren = 0 if part.size > before else barren + 1
            patience = patience if isinstance(error, _Unreached) else len(PAUSES)
            if barren > patience:
                raise (Failed if patience > UNREACHED else Unreachable)(str(error)) from None
            yield from _rest(max(PAUSES[max(barren - 1, 0)], error.pause))


def _rest(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(TICK)
        yield


def _transfer(url: str, token: str, part: Part, size: Optional[int]) -> Iterator[None]:
    with _ask(url, token, part) as response:
        _find_place(response, part)
        length = response.headers.get("Content-Length", "")
        upto = part.size + int(length) if length.isdigit() else size
        _check_size(upto, size)
        for chunk in _chunks(response):
            part.write(chunk)
            _check_size(max(part.size, size or 0), size)
            yield
    if upto is not None and part.size < upto:
        raise _Broken("the transfer broke off at byte %d" % part.size)


def _find_place(response: Any, part: Part) -> None:
    """See that what comes goes on where the part ends."""
    said = response.headers.get("Content-Range", "")
    goes_on = response.status == 206 and said.startswith("bytes %d-" % part.size)
    if part.size and not goes_on:
        part.clear()
    if response.status == 206 and not goes_on:
        raise _Broken("the server sent another part than it was asked for")


def _check_size(found: Optional[int], size: Optional[int]) -> None:
    # Told at once, rather than after gigabytes that are not what was asked for.
    if size is not None and found != size:
        raise Different("what the server has is of another size: %d bytes, not %d" % (found, size))


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(_words(error)) from error
        if not chunk:
            return
        yield chunk


def _ask(url: str, token: str, part: Part) -> Any:
    known = {"Range": "bytes=%d-" % part.size} if part.size else {}
    request = Request(url, headers={"User-Agent": "offload", **known})  # noqa: S310 - sources gives http(s) alone
    if token:
        request.add_unredirected_header("Authorization", "Bearer %s" % token)
    try:
        return build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            raise _answered(error, part) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Unreached(_words(error)) from error


def _answered(error: HTTPError, part: Part) -> Exception:
    if error.code == 416:  # there is more of it here than there
        part.clear()
        return _Broken("the server has no such part of the file")
    if error.code in (408, 429) or error.code >= 500:
        pause = error.headers.get("Retry-After", "")
        return _Broken("the server answered %d" % error.code, min(float(pause), LONGEST) if pause.isdigit() else 0.0)
    return Refused(error.code, error.headers.get("X-Error-Code", ""))


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects with what was asked for, and with the token to the same server alone."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request:
        if not newurl.startswith(("http://", "https://")):
            raise HTTPError(newurl, code, msg, headers, fp)
        request = Request(newurl, headers=dict(req.headers))  # noqa: S310 - just seen
        token = req.unredirected_hdrs.get("Authorization")
        if token and _server(newurl) == _server(req.full_url):
            request.add_unredirected_header("Authorization", token)
        return request

    http_error_308 = HTTPRedirectHandler.http_error_302  # which Python knows from 3.11 on


def _server(url: str) -> Tuple[str, Optional[str], Optional[int]]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
