"""The Colab executor by way of the command cgpu, for who can log in with that and not otherwise.

What cgpu cannot do, it cannot either: give a runtime back, or choose its kind. Colab ends one that nobody uses.

state/cgpu.json  the mark of the machine that was entered last, and when it was entered first
state/cgpu.used  its age is that of the last use
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from executors.base import (
    Completed,
    ExecutorError,
    Gone,
    Lost,
    NoQuota,
    Probe,
    Refused,
    Span,
    Unreachable,
    check_span,
    checked,
)
from executors.colab import files, hours
from executors.colab.address import Address
from executors.colab.places import COLAB, LOGIN, QUOTA, RUNTIME
from executors.colab.runtime import BEST, SESSIONS
from executors.jupyter.probe import in_time, not_installed
from executors.rented import Holding, Rented

if TYPE_CHECKING:
    from executors.colab.cgpu_session import CgpuSession

STEPS = (LOGIN, COLAB, QUOTA, RUNTIME)

EARLY = 0.2
"""How much sooner than a look at it must be over, in seconds, the command is ended."""


class CgpuExecutor(Rented):
    """Runs on the account's Colab runtime by the command `cgpu`. Options: see `Address`."""

    compares: ClassVar[bool] = True
    streams: ClassVar[int] = 3
    """Each is a program of its own, of a hundred megabytes."""

    look_seconds: ClassVar[float] = 4.0
    """The command takes most of a second to start."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, options)
        self._session: CgpuSession | None = None

    def probe(self, deadline: float) -> Probe:
        """Ask `cgpu status`. Takes nothing."""
        silent = Unreachable(f"{self.name}: cgpu does not answer within {deadline:g} s", step=COLAB)
        return in_time(deadline, lambda: self._look(deadline), Probe.failed(self.name, silent, STEPS))

    def _look(self, deadline: float) -> Probe:
        from executors.colab.cgpu import Cgpu

        try:
            kinds = Cgpu(Address.of(self.name, self.options)).status(max(deadline - EARLY, EARLY))
            if not kinds:
                raise NoQuota(f"{self.name}: Colab offers this account no GPU at present", step=QUOTA)
            gpu = next((kind for kind in BEST if kind in kinds), kinds[0])
            held = self.held()
            return Probe(True, gpu=gpu, hours=hours.left(None, held.taken if held else None), steps=STEPS)
        except ExecutorError as error:
            return Probe.failed(self.name, error, STEPS)

    def __enter__(self) -> Self:
        """Find a runtime, or have cgpu take one. Raises NoQuota, Gone, Unreachable, Refused or NotInstalled."""
        address = Address.of(self.name, self.options)
        try:
            from executors.colab.cgpu_session import CgpuSession
        except ImportError as error:
            raise not_installed(self.name, error, "colab") from error
        session, before = CgpuSession(address), self._record()
        if before is None or before[0] != session.mark:
            if self.returning:
                self._forget()
                raise Gone(f"{self.name}: the runtime is gone, and what was not downloaded is lost", step=RUNTIME)
            files.write(address, "cgpu.json", {"mark": session.mark, "taken": time.time()}, RUNTIME)
        self._session = session
        self.use()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget the session. The runtime stays."""
        if self._session:
            self.use()
        self._session = None

    def put(self, source: Path, span: Span, path: str) -> None:
        """Copy a part under another name, and have it given its own."""
        check_span(span)
        self._entered.put(source, span, checked(path))

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file, as text that a command prints: for what is small."""
        check_span(span)
        return self._entered.get(checked(path), span)

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command, by a program of ours that tells its end apart from that of the connection."""
        return self._entered.run(argv, stdin, timeout)

    @property
    def python(self) -> str:
        """The interpreter of the runtime."""
        return self._entered.python

    @property
    def _entered(self) -> CgpuSession:
        if self._session is None:
            raise Lost(f"{self.name}: not connected")
        return self._session

    # What is held

    def held(self) -> Holding | None:
        """The machine that was entered last, as it is remembered; whether it is there still only a job can tell."""
        address = Address.of(self.name, self.options)
        if (record := self._record()) is None:
            return None
        mark, taken = record
        what = "a Colab runtime (through cgpu, which cannot give it back)"
        return Holding(mark[:12], what, taken, max(taken, self._used()), address.idle, address.keep)

    def use(self) -> None:
        """Note that the runtime is in use now."""
        with suppress(OSError):  # without a mark it counts as used when it was taken
            self._path("cgpu.used").touch()

    def keep_alive(self) -> None:
        """Nothing is said: the commands of a job are what keeps it in use.

        To say more through cgpu would be to run a command, for which it takes another runtime where this one is gone.
        """
        if self._record() is None:
            raise Gone(f"{self.name}: it holds no runtime any more", step=RUNTIME)

    def give_back(self, unless: Callable[[], bool] = lambda: False) -> bool:
        """Forget the runtime. Raises Refused, for cgpu cannot give it back: Colab ends it when it has been idle."""
        if self._record() is None:
            return True
        if unless():
            return False
        self._forget()
        raise self._cannot()

    def give_back_other(self, machine: str) -> None:
        """Refuse, as no runtime can be given back by cgpu."""
        raise self._cannot()

    def _cannot(self) -> Refused:
        said = f"{self.name}: cgpu cannot give a runtime back; Colab ends it after about 90 minutes that nobody uses it"
        return Refused(said, step=RUNTIME, hint=f"at once: end it on {SESSIONS}")

    def _path(self, name: str) -> Path:
        return Address.of(self.name, self.options).state / name

    def _used(self) -> float:
        try:
            return self._path("cgpu.used").stat().st_mtime
        except OSError:
            return 0.0

    def _record(self) -> tuple[str, float] | None:
        try:
            said = json.loads(self._path("cgpu.json").read_text("utf-8"))
            return str(said["mark"]), float(said["taken"])
        except (OSError, ValueError, LookupError, TypeError):
            return None  # it would be entered anew, and cannot be given back anyway

    def _forget(self) -> None:
        self._path("cgpu.json").unlink(missing_ok=True)
