"""The Jupyter executor. httpx and websockets are imported when a target is looked at or entered, not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from executors.base import Completed, Executor, ExecutorError, Lost, Probe, Span, check_span, checked
from executors.jupyter.address import STREAMS, Address, TokenFile

if TYPE_CHECKING:
    from executors.jupyter.session import Session


class JupyterExecutor(Executor):
    """Runs on the machine of the server at `url` (jupyter+http[s]://host[:port][/base/]), in a kernel of its own.

    Options: `token_file`, and what else `Address` says.
    """

    streams: ClassVar[int] = STREAMS

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, options)
        self._session: Session | None = None

    def probe(self, deadline: float) -> Probe:
        """See whether a Jupyter server lets us in."""
        from executors.jupyter import probe

        try:
            return probe.probe(Address.of(self.name, self.options), deadline)
        except ExecutorError as error:
            return Probe.failed(self.name, error)

    def __enter__(self) -> Self:
        """Connect, make the root and start a kernel. Raises Unreachable, Refused or NotInstalled."""
        from executors.jupyter.probe import not_installed

        try:
            from executors.jupyter.server import Server
            from executors.jupyter.session import Session
        except ImportError as error:
            raise not_installed(self.name, error) from error
        address = Address.of(self.name, self.options)
        access = TokenFile(self.name, address.url, address.token_file)
        server = Server(self.name, access, address.timeout, address.silence, address.ca)
        self._session = Session(server, address.root)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the kernel and disconnect. Jobs go on."""
        session, self._session = self._session, None
        if session:
            session.close()

    def put(self, source: Path, span: Span, path: str) -> None:
        """Write a part under another name; the kernel gives it its own."""
        check_span(span)
        self._entered.put(source, span, checked(path))

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file."""
        check_span(span)
        return self._entered.get(checked(path), span)

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command: the kernel starts it and tells its end."""
        return self._entered.run(argv, stdin, timeout)

    @property
    def python(self) -> str:
        """The interpreter of the kernel: it has what the server's owner installed."""
        return self._entered.python

    @property
    def _entered(self) -> Session:
        if self._session is None:
            raise Lost(f"{self.name}: not connected")
        return self._session
