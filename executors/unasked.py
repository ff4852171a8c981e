"""A target that is not asked, since the user said so: whoever tries is told, and nothing leaves this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from executors.base import Completed, Executor, Probe, Span, Unreachable

OFFLINE = "offline"
"""The kind of such a target."""


class Unasked(Executor):
    """Stands in for the executor of a target while this machine is to keep to itself."""

    def probe(self, deadline: float) -> Probe:
        """Not reachable, by decision."""
        return Probe.failed(self.name, self._refusal())

    def __enter__(self) -> Self:
        """Raises Unreachable."""
        raise self._refusal()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def put(self, source: Path, span: Span, path: str) -> None:
        """Raises Unreachable."""
        raise self._refusal()

    def get(self, path: str, span: Span) -> bytes:
        """Raises Unreachable."""
        raise self._refusal()

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Raises Unreachable."""
        raise self._refusal()

    @property
    def python(self) -> str:
        """Raises Unreachable."""
        raise self._refusal()

    def _refusal(self) -> Unreachable:
        return Unreachable(f"{self.name}: not asked, because of --offline or OFFLOAD_OFFLINE", step="reach")
