"""The HTTP side of a Jupyter server: requests with our headers, renewed where they expire, and what failures mean."""

from __future__ import annotations

import json
import re
import shlex
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from executors.base import ExecutorError, Lost, NoSpace, Refused, TransferFailed, Unreachable
from executors.dialing import NAME, TCP, TLS, is_loopback, no_connection
from executors.jupyter.address import Access

JUPYTER, LOGIN, FILES, KERNEL, WEBSOCKET = "Jupyter", "login", "files", "kernel", "websocket"
"""The steps of connecting, after those of any url."""

UNTRUSTED = "name the file of its certificate as the target's option ca"

FULL = re.compile(r"\[Errno (28|122)\]|No space left|quota exceeded", re.IGNORECASE)
"""How the contents API says ENOSPC and EDQUOT: in the middle of a sentence."""

Content = Callable[[], Iterable[bytes]]


class Answered(Exception):
    """The server answered with a status that is no success; what it means depends on what it was asked."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status} {said}".strip())
        self.status, self.said = status, said


def steps(url: str) -> tuple[str, ...]:
    """What connecting to the server at `url` takes, in order."""
    tls = (TLS,) if url.startswith("https:") else ()
    return NAME, TCP, *tls, JUPYTER, LOGIN, FILES, KERNEL, WEBSOCKET


class Server:
    """Speaks HTTP with the server that `access` leads to; safe from several threads.

    `timeout` is the most seconds that connecting may take, `silence` those that an answer may. `ca` is a file of
    certificates to trust, None for the system's.
    """

    def __init__(self, name: str, access: Access, timeout: float, silence: float, ca: Path | None = None) -> None:
        self.name, self.access = name, access
        self.timeout, self.silence = timeout, silence
        self.tls = _context(name, ca) if access.url.startswith("https:") else None
        self._client = httpx.Client(
            timeout=httpx.Timeout(silence, connect=timeout),
            verify=self.tls or False,
            trust_env=not is_loopback(access.url),
            headers={"Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def look(self) -> None:
        """See whether there is a Jupyter server that lets us in. Raises Unreachable or Refused."""
        try:
            found = self.json("GET", "api/kernels")
        except Answered as error:
            raise self.no_jupyter(f"it answers {error}") from error
        except (Lost, TransferFailed) as error:
            raise Unreachable(str(error), step=JUPYTER) from error
        if not isinstance(found, list):
            raise self.no_jupyter("it speaks of no kernels")

    def no_jupyter(self, why: str) -> Unreachable:
        """The error of a url at which something else is."""
        said = f"{self.name}: {self.access.url} is not a Jupyter server's url: {why}"
        return Unreachable(said, step=JUPYTER, hint=shlex.join(["curl", "-i", f"{self.access.url}api"]))

    def json(self, method: str, path: str, body: object = None) -> Any:
        """Ask for `path` under the url, and return the answer's JSON; None for an empty one. Raises as `ask` does."""
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Length": str(len(data)), "Content-Type": "application/json"} if data else None
        with self.ask(method, path, headers, (lambda: [data]) if data else None) as response:
            answer = response.read()
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise self.no_jupyter(f"it answers {method} {path} with a page") from error

    @contextmanager
    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, content: Content | None = None
    ) -> Iterator[httpx.Response]:
        """Ask for `path`; the answer's body is still to be read. `content` makes the body, anew for another try.

        Raises Answered for a status that is no success, Refused when we are not let in, Unreachable when no connection
        could be made, Lost or TransferFailed when one broke, NoSpace when the server says that its disk is full.
        """
        try:
            response = self._send(method, path, headers, content)
            try:
                self._check(response)
                yield response
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise self.meaning(error) from error

    def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None, content: Content | None
    ) -> httpx.Response:
        response = self._send_once(method, path, headers, content)
        if _shut_out(response) and self.access.renew():
            response.close()
            response = self._send_once(method, path, headers, content)
        return response

    def _send_once(
        self, method: str, path: str, headers: Mapping[str, str] | None, content: Content | None
    ) -> httpx.Response:
        said = {**(headers or {}), **self.access.headers()}
        url = self.access.url + path
        request = self._client.build_request(method, url, headers=said, content=content() if content else None)
        return self._client.send(request, stream=True)

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        if _shut_out(response):
            raise self.shut_out(response.status_code, response.headers.get("location", ""))
        if response.is_redirect:
            place = response.headers.get("location", "")[:200]
            said = f"{self.name}: {self.access.url} sends us on to {place!r}; is that the server's url?"
            raise Refused(said, step=JUPYTER)
        said = _message(response)
        if FULL.search(said):
            raise NoSpace(f"{self.name}: the disk is full")
        if response.status_code in (424, 502, 503, 504):
            raise self.not_running(response.status_code)
        raise Answered(response.status_code, said)

    def shut_out(self, status: int, page: str = "") -> Refused:
        """The error of an answer that lets us in no further."""
        sent = f"it sends us to its login page ({status})" if page else f"it answers {status}"
        said = f"{self.name}: the server does not take our token, which is wrong or has expired: {sent}"
        return Refused(said, step=LOGIN, hint=self.access.relogin)

    def not_running(self, status: int) -> Unreachable:
        """The error of a proxy or hub that answers in a server's place."""
        said = f"{self.name}: no Jupyter server is running behind {self.access.url} (it answers {status})"
        return Unreachable(said, step=JUPYTER, hint="start the server, on a hub by its web page")

    def meaning(self, error: Exception) -> ExecutorError:
        """What an exchange that broke is to the broker: one exchange of many, or the server."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError | OSError):
            return self.no_connection(error)
        if isinstance(error, httpx.TimeoutException):
            return Lost(f"{self.name}: it does not answer any more")
        if isinstance(error, httpx.TransportError) and self._answers():
            return TransferFailed(f"{self.name}: a transfer broke: {error}")
        return Lost(f"{self.name}: the connection broke: {str(error) or type(error).__name__}")

    def _answers(self) -> bool:
        try:
            self._client.get(f"{self.access.url}api", timeout=self.timeout)
        except httpx.HTTPError:
            return False
        return True

    def no_connection(self, error: Exception) -> ExecutorError:
        """The error of a connection that could not be made. Raises nothing."""
        hints = {"untrusted": UNTRUSTED, "plain": "is it a server for jupyter+http:// ?"}
        return no_connection(self.name, self.access.url, error, self.timeout, **hints)


def _context(name: str, ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:
        raise Refused(f"{name}: its file of certificates {ca} cannot be used: {error}", step=TLS) from error


def _shut_out(response: httpx.Response) -> bool:
    """Whether we are not let in: said so, or sent to a page where a person could log in."""
    if response.is_redirect:
        return bool(re.search(r"login|oauth|signin", response.headers.get("location", "")))
    return response.status_code in (401, 403)


def _message(response: httpx.Response) -> str:
    """What an answer that is no success says, as far as it is JSON of the server's own."""
    try:
        said = json.loads(response.read()[:10_000])["message"]
    except (ValueError, LookupError, TypeError):
        return str(response.headers.get("content-type", ""))[:100]
    return "".join(letter for letter in str(said)[:300] if letter.isprintable())
