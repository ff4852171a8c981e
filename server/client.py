"""The server for Python programs: jobs submitted, watched and fetched, also over a server that is started again.

with Client.here() as client:
    job = client.submit("stabilize", [Path("clip.mp4")], {"smoothing": 30})
    for told in client.events(job.job):
        print(told.state, told.progress)
    client.download(job.job, told.items[0].outputs[0].name, Path("steady.mp4"))
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from broker import settings
from broker.errors import NoTarget, OffloadError
from server import access, running, schemas


class ClientError(OffloadError):
    """The server refused: its sentence, its hint, and the exit code that the command line would have."""

    def __init__(self, problem: schemas.Problem) -> None:
        super().__init__(problem.detail or problem.title, problem.hint)
        self.status, self.exit_code = problem.status, problem.exit_code or OffloadError.exit_code


class Client:
    """A server at an address. Close it, or use it as a context."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)

    @classmethod
    def here(cls, config: settings.Settings | None = None, port: int | None = None) -> Client:
        """The server that runs on this machine. Raises NoTarget when there is none."""
        config = config or settings.load()
        found = [one for one in running.ports(config) if port in (None, one)]
        if not found:
            raise NoTarget("no server runs here", "offload serve")
        return cls(running.address(found[0]), access.token(access.folder(config)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def link(self) -> str:
        """A new login link."""
        return schemas.Link.model_validate(self._asked("POST", "/v1/links")).link

    def _asked(self, method: str, path: str, **sent: Any) -> Any:
        answer = self._http.request(method, path, **sent)
        if answer.is_error:
            raise ClientError(_problem(answer))
        return answer.json()


def _problem(answer: httpx.Response) -> schemas.Problem:
    try:
        return schemas.Problem.model_validate_json(answer.content)
    except ValueError:  # not from us
        return schemas.Problem(title=answer.reason_phrase, status=answer.status_code, detail="")
