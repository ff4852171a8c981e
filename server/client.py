"""The server for Python programs: jobs submitted, watched and fetched, also from a server that is started again.

with Client.here() as client:
    job = client.submit("stabilize", [Path("clip.mp4")], {"smoothing": 30})
    for job in client.events(job.job):
        print(job.state, f"{job.progress:.0%}")
    client.download(job, job.items[0].outputs[0], Path("steady.mp4"))
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from broker import settings
from broker.errors import NoTarget, UsageError
from broker.policy import Patience
from server import access, running, schemas, transfers, wishes
from server.wire import JSON, LONGEST_PAUSE, Again, ClientError, Wire, checked, events, sendable

PATIENCE_SECONDS = 90.0
"""How long a server may be away at a time."""

CHECKUP_SECONDS = 600.0

T = TypeVar("T")

Source = Path | wishes.Upload | wishes.Local
"""An input: a file to upload, one that was, or one on the server's machine."""

__all__ = ["Client", "ClientError"]


class Client:
    """A server at an address. Close it, or use it as a context; one thread at a time may use it.

    Every method raises ClientError for what the server refuses, and when it is away for longer than `patience` seconds.
    """

    def __init__(
        self,
        url: str,
        token: str,
        patience: float = PATIENCE_SECONDS,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._wire = Wire(url, token, patience, check)

    @classmethod
    def here(
        cls, config: settings.Settings | None = None, port: int | None = None, patience: float = PATIENCE_SECONDS
    ) -> Client:
        """The server that runs on this machine. Raises NoTarget when there is none.

        The token is shown to nobody else who may sit at its port while it is away.
        """
        config = config or settings.load()
        found = [one for one in running.ports(config) if port in (None, one)]
        if not found:
            raise NoTarget("no server runs" + (f" at port {port}" if port else ""), "offload serve")

        def check() -> None:
            if not running.runs(config, found[0]):
                raise httpx.ConnectError("it does not run")

        return cls(running.address(found[0]), access.token(access.folder(config), make=False), patience, check)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.http.close()

    # Jobs

    def submit(
        self,
        service: str,
        inputs: Sequence[Source],
        params: Mapping[str, Any] | None = None,
        key: str | None = None,
        **terms: Any,
    ) -> schemas.Job:
        """Ask for a job; files that the server has not are uploaded. `terms` are the other fields of `wishes.Wish`.

        The same `key` again finds the same job. Raises InputError for a file that cannot be read, and ValueError for
        terms that there are not.
        """
        sent = [self.upload(one) if isinstance(one, Path) else one for one in inputs]
        wish = wishes.Wish(service=service, inputs=sent, params=dict(params or {}), **terms)
        named = {"Idempotency-Key": sendable("the key", key or secrets.token_hex(16))}
        return self._read(schemas.Job, "POST", "/v1/jobs", content=wish.model_dump_json(), headers=JSON | named)

    def plan(
        self, service: str, inputs: Sequence[Source], params: Mapping[str, Any] | None = None, **terms: Any
    ) -> schemas.Plan:
        """Where such a job would run, and why. Nothing is uploaded or started. Raises InputError and ValueError."""
        told = [transfers.planned(one) if isinstance(one, Path) else one for one in inputs]
        sketch = wishes.Sketch(service=service, inputs=told, params=dict(params or {}), **terms)
        return self._read(schemas.Plan, "POST", "/v1/plan", content=sketch.model_dump_json(), headers=JSON)

    def upload(self, path: Path) -> wishes.Upload:
        """Send a file that is not known yet, to be an input of any number of jobs. Raises InputError."""
        return transfers.upload(self._wire, path)

    def jobs(self, **which: Any) -> schemas.Jobs:
        """The latest jobs, newest first, 200 at most. `which` are the query parameters of the route."""
        return self._read(schemas.Jobs, "GET", "/v1/jobs", params=which)

    def all_jobs(self, **which: Any) -> Iterator[schemas.Row]:
        """All jobs, newest first, asked for page by page. `which` as in `jobs`; `limit` is that of a page."""
        more = True
        while more:
            page = self.jobs(**which)
            yield from page.jobs
            more, which = page.more, which | {"before": page.before}

    def job(self, job: str) -> schemas.Job:
        """A job as it is now."""
        return self._read(schemas.Job, "GET", _address(job))

    def events(self, job: str) -> Iterator[schemas.Job]:
        """A job now and at each change, until it is over. What happens while the server is away is told afterwards.

        Raises ClientError for one that is removed.
        """
        patience, last, over = Patience(self._wire.patience, longest=LONGEST_PAUSE), "", False
        while not over:
            try:
                for revision, told in self._stream(job, last):
                    patience.heard(news=True)
                    last, over = revision, told.over
                    yield told
                if not over:
                    raise Again("the stream of events ended")
            except (httpx.TransportError, Again) as error:
                self._wire.wait(patience, error)

    def _stream(self, job: str, last: str) -> Iterator[tuple[str, schemas.Job]]:
        headers = {"Last-Event-ID": last} if last else {}
        with self._wire.http.stream("GET", f"{_address(job)}/events", headers=headers) as answer:
            for kind, revision, data in events(checked(answer).iter_raw()):
                if kind == "gone":
                    raise ClientError(f"job {job} was removed", "offload jobs ls", UsageError.exit_code, 404)
                if kind == "job":
                    yield revision, schemas.Job.model_validate_json(data)

    def wait(self, job: str) -> schemas.Job:
        """A job, once it is over. Raises as `events`."""
        *_, last = self.events(job)
        return last

    def cancel(self, job: str) -> schemas.Removed:
        """End an open job, wherever it runs. Raises ClientError for one that is over."""
        told = self.job(job)
        if told.over:
            raise ClientError(
                f"job {told.job} is {told.state} already", f"offload jobs show {told.job}", UsageError.exit_code
            )
        return self._read(schemas.Removed, "DELETE", _address(job), repeatable=False)

    def remove(self, job: str) -> schemas.Removed:
        """Forget a job that is over; one that is open is ended, and may be removed then."""
        return self._read(schemas.Removed, "DELETE", _address(job), repeatable=False)

    def retry(self, job: str) -> schemas.Job:
        """Do what is missing of a job that failed or was cancelled."""
        return self._read(schemas.Job, "POST", f"{_address(job)}/retry", repeatable=False)

    def receipt(self, job: str) -> dict[str, Any]:
        """What `offload jobs show --json` tells of a job."""
        return self._read(dict[str, Any], "GET", f"{_address(job)}/receipt")

    def log(self, job: str) -> str:
        """What the job's script logged."""
        return self._wire.asked("GET", f"{_address(job)}/log").text

    def download(self, job: schemas.Job, output: schemas.Output, dest: Path, overwrite: bool = False) -> Path:
        """Fetch an output to the file `dest`, or under its own name into that folder; returns where it is.

        It has that name when it is whole and its sha256 is right, never before. Raises UsageError for one that is there
        already or cannot be written, LimitError when the disk is full, IntegrityError.
        """
        dest = dest / output.file if dest.is_dir() else dest
        address = f"{_address(job.job)}/outputs/{quote(output.name, safe='')}"
        transfers.download(self._wire, address, output, dest, overwrite)
        return dest

    # What there is

    def services(self) -> list[schemas.Service]:
        """The services, and what each takes."""
        return self._read(list[schemas.Service], "GET", "/v1/services")

    def targets(self) -> list[schemas.Target]:
        """The places a job can run, in the order they are tried."""
        return self._read(list[schemas.Target], "GET", "/v1/targets")

    def test(self, target: str) -> schemas.Checkup:
        """Go through all that a job needs of a target."""
        address = f"/v1/targets/{quote(target, safe='')}/test"
        return self._read(schemas.Checkup, "POST", address, repeatable=False, timeout=CHECKUP_SECONDS)

    def models(self, service: str = "") -> list[schemas.Model]:
        """The models of the catalogue, of one service if it is given."""
        return self._read(schemas.Models, "GET", "/v1/models", params={"service": service}).data

    def search(self, text: str, top: int = 10) -> schemas.Found:
        """Moments in what was tagged that fit a text, the best first."""
        return self._read(schemas.Found, "GET", "/v1/search", params={"text": text, "top": top})

    def health(self) -> schemas.Health:
        """That the server serves."""
        return self._read(schemas.Health, "GET", "/v1/health")

    def link(self) -> str:
        """A new login link for a browser."""
        return self._read(schemas.Link, "POST", "/v1/links").link

    def _read(self, kind: type[T], method: str, path: str, **sent: Any) -> T:
        return TypeAdapter(kind).validate_json(self._wire.asked(method, path, **sent).content)


def _address(job: str) -> str:
    return f"/v1/jobs/{quote(job, safe='')}"
