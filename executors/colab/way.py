"""Which way to Colab: our own client, or the command cgpu. This is decided here and nowhere else.

- `colab+cgpu://`: by cgpu.
- `colab://`: by our own client; but by cgpu where nobody has logged in with `offload targets login`, cgpu is logged in
  and on PATH, and Colab itself turns away who comes with cgpu's login and is not cgpu.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from executors.base import Completed, Probe, Refused, Span
from executors.colab.address import Address
from executors.colab.cgpu_executor import CgpuExecutor
from executors.colab.executor import ColabExecutor
from executors.colab.places import COLAB
from executors.rented import Holding, Rented

SAID = "through cgpu: Colab takes cgpu's login from cgpu alone"


def may_use_cgpu(address: Address) -> bool:
    """Whether cgpu may stand in for our own client, should Colab turn that away."""
    from executors.colab.login import saved

    with suppress(Refused):  # nobody is logged in, anywhere
        return saved(address).of_cgpu and shutil.which("cgpu") is not None
    return False


class Colab(Rented):
    """A Colab target, by whichever way it is reached. Options: see `Address`."""

    streams: ClassVar[int] = ColabExecutor.streams
    look_seconds: ClassVar[float] = ColabExecutor.look_seconds

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, options)
        self._own, self._cgpu = ColabExecutor(name, options), CgpuExecutor(name, options)
        self._entered: ColabExecutor | CgpuExecutor | None = None

    @property
    def _by_cgpu(self) -> bool:
        return self.options.get("url", "").startswith("colab+cgpu:")

    @property
    def _now(self) -> ColabExecutor | CgpuExecutor:
        return self._entered or (self._cgpu if self._by_cgpu else self._own)

    def probe(self, deadline: float) -> Probe:
        """Look by the way that entering would take. Takes nothing."""
        found = self._now.probe(deadline)
        if self._turned_away(found.exit_code, found.step, found.reachable):
            seen = self._cgpu.probe(deadline)
            return replace(seen, reason=SAID if seen.reachable else f"{SAID}; {seen.reason}")
        return found

    def _turned_away(self, exit_code: int, step: str, reachable: bool = False) -> bool:
        """Whether Colab refused our own client, with a login of cgpu's that Google takes."""
        if reachable or self._by_cgpu or (exit_code, step) != (Refused.exit_code, COLAB):
            return False
        return may_use_cgpu(Address.of(self.name, self.options))

    def __enter__(self) -> Self:
        """Enter by our own client, or by cgpu."""
        self._own.returning = self._cgpu.returning = self.returning
        try:
            self._use(self._cgpu if self._by_cgpu else self._own)
        except Refused as error:
            if not self._turned_away(error.exit_code, error.step):
                raise
            self._use(self._cgpu)
        return self

    def _use(self, way: ColabExecutor | CgpuExecutor) -> None:
        way.__enter__()
        self._entered = way
        self.streams, self.compares = type(way).streams, type(way).compares  # type: ignore[misc]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it by the way it was entered."""
        entered, self._entered = self._entered, None
        if entered:
            entered.__exit__(kind, error, trace)

    def put(self, source: Path, span: Span, path: str) -> None:
        """Write a part."""
        self._now.put(source, span, path)

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file."""
        return self._now.get(path, span)

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command."""
        return self._now.run(argv, stdin, timeout)

    @property
    def python(self) -> str:
        """The interpreter there."""
        return self._now.python

    # What is held: by the way it was taken, whoever asks

    @property
    def _holder(self) -> ColabExecutor | CgpuExecutor:
        if self._by_cgpu or (self._own.held() is None and self._cgpu.held() is not None):
            return self._cgpu
        return self._own

    def held(self) -> Holding | None:
        """What is taken, by either way."""
        return self._holder.held()

    def use(self) -> None:
        """Note that the machine is in use."""
        (self._entered or self._holder).use()

    def keep_alive(self) -> None:
        """Say that the machine is in use."""
        self._holder.keep_alive()

    def give_back(self, unless: Callable[[], bool] = lambda: False) -> bool:
        """Give the machine back."""
        return self._holder.give_back(unless)

    def give_back_other(self, machine: str) -> None:
        """Give back another of the account."""
        self._holder.give_back_other(machine)
