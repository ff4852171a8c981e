"""What every executor has in common that reaches its machine through a Jupyter server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from executors.base import Completed, Executor, Lost, Span, check_span, checked

if TYPE_CHECKING:
    from executors.jupyter.session import Session


class Served(Executor):
    """Files and commands by the session that `__enter__` opens and puts into `_session`."""

    streams: ClassVar[int] = 6
    """Over a far and lossy link each connection is slow by itself: six came to three times the speed of one."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, options)
        self._session: Session | None = None

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
        with self._watched():
            self._entered.put(source, span, checked(path))

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file."""
        check_span(span)
        with self._watched():
            return self._entered.get(checked(path), span)

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command: the kernel starts it and tells its end."""
        with self._watched():
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

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Around every exchange: who knows more of a failure than the session may say so."""
        yield
