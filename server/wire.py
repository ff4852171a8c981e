"""How the client speaks: requests that outlast a server that is started again, refusals as errors, and events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import httpx

from broker.errors import NoTarget, OffloadError, UsageError
from broker.policy import Patience
from server import schemas

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Events come, if only to say that there are none, four times as often."""

LONGEST_PAUSE = 5.0

JSON = {"Content-Type": "application/json"}
"""The headers of a body that is JSON already."""

HEADER = re.compile(r"[!-~]([ -~]*[!-~])?")

T = TypeVar("T")


class ClientError(OffloadError):
    """The server refused: its sentence and hint, the exit code that the command line would have, and the HTTP status.

    Without a status: it could not be reached.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None, status: int | None = None) -> None:
        super().__init__(message, hint)
        self.exit_code, self.status = exit_code or OffloadError.exit_code, status


class Again(Exception):
    """What was tried may go well in a moment."""


def sendable(what: str, value: str) -> str:
    """The value, as a header can carry it. Raises ClientError for another."""
    if not HEADER.fullmatch(value):
        said = f"{what} cannot be sent: it may have letters and signs of ASCII alone, and spaces between"
        raise ClientError(said, exit_code=UsageError.exit_code)
    return value


class Wire:
    """A server at `url`. It may be away for `patience` seconds at a time. `check` is called before each request.

    Raises ClientError for a token that is none.
    """

    def __init__(self, url: str, token: str, patience: float, check: Callable[[], None]) -> None:
        self._url, self.patience = url, patience
        self.http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {sendable('the token', token)}"},
            timeout=TIMEOUT,
            trust_env=False,  # this machine is never behind a proxy
            event_hooks={"request": [lambda request: check()]},
        )

    def asked(self, method: str, path: str, repeatable: bool = True, **sent: Any) -> httpx.Response:
        """The answer to a request. One that is not `repeatable` is sent again only if it certainly did not arrive.

        Raises ClientError.
        """
        passing = httpx.TransportError if repeatable else httpx.ConnectError
        return self.persist(lambda patience: checked(self.http.request(method, path, **sent)), passing)

    def persist(
        self,
        move: Callable[[Patience], T],
        passing: type[httpx.TransportError] = httpx.TransportError,
    ) -> T:
        """What `move` returns, once it goes well. It tells its `Patience` when it got further. Raises ClientError."""
        patience = Patience(self.patience, longest=LONGEST_PAUSE)
        while True:
            try:
                return move(patience)
            except (passing, Again) as error:
                self.wait(patience, error)
            except httpx.TransportError as error:
                raise self._away(error) from error

    def wait(self, patience: Patience, error: Exception) -> None:
        """Pause before the next try. Raises ClientError when it has been long enough."""
        pause = patience.pause()
        if pause is None:
            raise self._away(error) from error
        time.sleep(pause)

    def _away(self, error: Exception) -> ClientError:
        why = str(error) or type(error).__name__
        return ClientError(f"the server at {self._url} cannot be reached: {why}", "offload serve", NoTarget.exit_code)


def checked(answer: httpx.Response) -> httpx.Response:
    """An answer that is none of an error. Raises ClientError for a problem."""
    if not answer.is_error:
        return answer
    answer.read()
    try:
        problem = schemas.Problem.model_validate_json(answer.content)
    except ValueError:  # it is no server of ours
        code = OffloadError.exit_code
        problem = schemas.Problem(title=answer.reason_phrase, status=answer.status_code, detail="", exit_code=code)
    raise ClientError(problem.detail or problem.title, problem.hint, problem.exit_code, answer.status_code)


def events(chunks: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """Server-sent events, as kind, id and data, as they come in. Data is one line of JSON."""
    fields: dict[str, str] = {}
    for line in _lines(chunks):
        name, _, value = line.partition(":")
        if line:
            fields[name] = value.removeprefix(" ")  # a comment has no name
            continue
        if "data" in fields:
            yield fields.get("event", "message"), fields.get("id", ""), fields["data"]
        fields = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    held = b""
    for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
