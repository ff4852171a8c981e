"""A machine that fails on purpose: a local executor with faults, which shares no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import ClassVar, Self
from urllib.parse import urlsplit

from executors.base import Completed, Probe, Span, Unreachable
from executors.local import LocalExecutor


@dataclass(frozen=True)
class Fault:
    """What goes wrong: `operation` (probe, enter, put, get, run) on a path or verb that has `word` in it.

    The first `skip` of them go well, the next `times` do not: `error` is raised, or one bit is flipped where
    there is none.
    """

    operation: str
    word: str = ""
    error: Exception | None = None
    skip: int = 0
    times: int = 1_000_000


class FaultyExecutor(LocalExecutor):
    """The machine. Its faults and what it was asked for are the class's own: see the fixture `box`."""

    faults: ClassVar[list[Fault]] = []
    asked: ClassVar[list[tuple[str, str, int]]] = []
    _lock = Lock()

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, {**options, "root": urlsplit(options["url"]).path, "share": "no"})

    def probe(self, deadline: float) -> Probe:
        fault = self._met("probe", "")
        return Probe(False, str(fault.error)) if fault else super().probe(deadline)

    def __enter__(self) -> Self:
        self._strike("enter", "")
        return super().__enter__()

    def put(self, source: Path, span: Span, path: str) -> None:
        if not self._strike("put", path, span.length):
            super().put(source, span, path)
            return
        with TemporaryDirectory() as folder:
            damaged = Path(folder) / "damaged"
            with source.open("rb") as file:
                file.seek(span.offset)
                damaged.write_bytes(_flipped(file.read(span.length)))
            super().put(damaged, Span(0, span.length), path)

    def get(self, path: str, span: Span) -> bytes:
        flip = self._strike("get", path)
        data = super().get(path, span)
        return _flipped(data) if flip else data

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        self._strike("run", argv[-1])
        return super().run(argv, stdin, timeout)

    def _strike(self, operation: str, word: str, size: int = 0) -> bool:
        """Raise what is due; returns whether a bit is to be flipped."""
        with self._lock:
            self.asked.append((operation, word, size))
            fault = self._met(operation, word)
        if fault and fault.error:
            raise fault.error
        return fault is not None

    def _met(self, operation: str, word: str) -> Fault | None:
        for number, fault in enumerate(self.faults):
            if fault.operation == operation and fault.word in word:
                self.faults[number] = replace(fault, skip=max(fault.skip - 1, 0), times=fault.times - (not fault.skip))
                if not fault.skip and fault.times > 0:
                    return fault
        return None


class Away(FaultyExecutor):
    """One that cannot even be asked for its state without saying so."""

    def probe(self, deadline: float) -> Probe:
        return Probe(False, "it is switched off")

    def __enter__(self) -> Self:
        raise Unreachable(f"{self.name}: it is switched off")


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
