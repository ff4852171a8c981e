"""What every executor is: a machine with files and commands.

It knows nothing of jobs, services or fallback. Paths are relative to a root that the executor resolves
when it connects; they are made by this program (`jobs/<id>/job.json`), never by a user.

Errors, by what the broker does about them:

    ExecutorError            the machine failed us: the work may be retried or moved
      Unreachable            no connection could be made
      Lost                   it was there and is gone, or does not answer in time
        Gone                 it is known to be gone for good: waiting for it is of no use
      TransferFailed         bytes did not arrive whole
      NoSuchFile             a file that should be on the target is not
      NoSpace                the target's disk is full
      OutOfMemory            the target's memory was not enough
      NoQuota                the target has no capacity for us now
        NoMachine            not of the kind that was asked for; maybe of another
      Refused                login failed or the host key is wrong: never retried there, said loudly
      NotInstalled           this machine lacks a package that drives the target: not the target's fault
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

PART_BYTES = 8 * 1024 * 1024
"""Most bytes one `put` carries. Parts, not offsets, resume and run in parallel on every transport."""

REPLY_BYTES = 64 * 1024
"""Most bytes a command may print: some transports cut or throttle anything longer."""

_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class ExecutorError(Exception):
    """The machine failed us. `exit_code` is what the command line ends with when nothing else could run.

    `hint` is the next command to type. `step` is the step of connecting that failed: one of its probe's `steps`, or
    what comes before or after them.
    """

    exit_code = 5

    def __init__(self, message: str = "", *, step: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.hint = hint


class Unreachable(ExecutorError):
    """No connection could be made."""


class Lost(ExecutorError):
    """The machine was there and is gone, or does not answer in time."""


class Gone(Lost):
    """It is known to be gone for good: waiting for it is of no use."""


class TransferFailed(ExecutorError):
    """Bytes did not arrive whole."""


class NoSuchFile(ExecutorError):
    """A file that should be on the target is not there."""


class NoSpace(ExecutorError):
    """The target's disk is full."""

    exit_code = 8


class OutOfMemory(ExecutorError):
    """The target's memory was not enough."""

    exit_code = 8


class NoQuota(ExecutorError):
    """The target has no capacity for us now."""

    exit_code = 8


class NoMachine(NoQuota):
    """There is none of the kind that was asked for at present; there may be of another."""


class Refused(ExecutorError):
    """Login failed or the host key is wrong. Never retried on that target."""

    exit_code = 7


class NotInstalled(ExecutorError):
    """A package that drives targets of this kind is not installed here; `hint` installs it."""

    exit_code = 4


@dataclass(frozen=True)
class Span:
    """A range of bytes: `length` bytes from `offset`."""

    offset: int
    length: int


@dataclass(frozen=True)
class Completed:
    """A finished command: exit status (127 when there is no such program, not 0 when a signal ended it), output."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Probe:
    """What is known of a target without entering it. `None` means not known, never "no".

    `steps` are what entering takes, in order. Of a target that is not reachable, `reason` says why (without its name),
    `step`, `hint` and `exit_code` are those of the error that entering would raise. `hours` is how long a rented
    machine can be had from now on, at most.
    """

    reachable: bool
    reason: str = ""
    cpus: int | None = None
    gpu: str | None = None
    memory_bytes: int | None = None
    disk_free_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    hours: float | None = None
    steps: tuple[str, ...] = ("reach",)
    step: str = ""
    hint: str = ""
    exit_code: int = ExecutorError.exit_code

    @classmethod
    def failed(cls, name: str, error: ExecutorError, steps: tuple[str, ...] = ("reach",)) -> Self:
        """The answer of the target `name` where a look at it ended with `error`."""
        reason = str(error).removeprefix(f"{name}: ")
        return cls(False, reason, steps=steps, step=error.step, hint=error.hint, exit_code=error.exit_code)

    def error(self, name: str) -> ExecutorError:
        """The error that entering the target `name`, which is not reachable, would raise."""
        lasting = {kind.exit_code: kind for kind in (Refused, NotInstalled, NoQuota)}
        reason = self.reason.removeprefix(f"{name}: ")
        return lasting.get(self.exit_code, Unreachable)(f"{name}: {reason}", step=self.step, hint=self.hint)

    @property
    def away(self) -> bool:
        """Whether the target could not be reached: other failures are mended here, and time mends this one."""
        return not self.reachable and self.exit_code == Unreachable.exit_code


class Executor(ABC):
    """One target of one kind. Enter it to connect, leave it to release.

    Args:
        name: the target's name in the user's configuration.
        options: the target's settings, strings as the user wrote them (`url` among them).
    """

    streams: ClassVar[int] = 4
    """How many parts are worth sending at once."""

    compares: ClassVar[bool] = False
    """Whether `put` has the target itself compare what arrived with what was sent: nobody need read it back."""

    look_seconds: ClassVar[float] = 1.5
    """How long a probe may take: a target that is not there is to cost a job two seconds, with loading what looks."""

    returning = False
    """Set it before entering to come back to what is there already: no other machine may take the place of one gone."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.name = name
        self.options = options

    @abstractmethod
    def probe(self, deadline: float) -> Probe:
        """Look at the target for at most `deadline` seconds. No side effect, no allocation, never raises."""

    @abstractmethod
    def __enter__(self) -> Self:
        """Connect. Raises Unreachable or Refused."""

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release what `__enter__` took."""

    @abstractmethod
    def put(self, source: Path, span: Span, path: str) -> None:
        """Write `span` of the local file `source` (at most PART_BYTES) to `path`, whole or not at all.

        Idempotent, creates parents, safe from several threads. Raises TransferFailed (also when `source` has
        no such span any more), NoSpace or Lost. Use `read_part` to read it.
        """

    @abstractmethod
    def get(self, path: str, span: Span) -> bytes:
        """Read `span` of `path` (at most PART_BYTES); short at the end of the file. Safe from several threads.

        Raises NoSuchFile, TransferFailed or Lost.
        """

    @abstractmethod
    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a short command in the root and return what it printed. Concurrent calls are allowed.

        Of stderr the last REPLY_BYTES count. Raises Lost when it outlasts `timeout` seconds (it is killed, with
        its children), TransferFailed when it prints more than REPLY_BYTES to stdout.
        """

    @property
    def python(self) -> str:
        """The interpreter that starts the runner on the target."""
        return "python3"

    def local_path(self, path: str) -> Path | None:
        """Where `path` lies on this machine, or None where the target shares no files with us.

        A target that shares files has its inputs referenced in place and its outputs linked, not copied.
        """
        return None


def checked(path: str) -> str:
    """Return `path` if it is one this program could have made; raises ValueError otherwise."""
    if not _SAFE_PATH.fullmatch(path):
        raise ValueError(f"not a path under a target's root: {path!r}")
    return path


def check_span(span: Span) -> None:
    """Raise ValueError for a span that no single `put` or `get` may carry."""
    if span.offset < 0 or not 0 <= span.length <= PART_BYTES:
        raise ValueError(f"a part is at most {PART_BYTES} bytes, not {span}")


def read_part(source: Path, span: Span) -> bytes:
    """Read all of `span` from the local file `source`. Raises TransferFailed when it has no such span any more."""
    check_span(span)
    try:
        with source.open("rb") as file:
            file.seek(span.offset)
            data = file.read(span.length)
    except OSError as error:
        raise TransferFailed(f"{source} cannot be read: {error.strerror}") from error
    if len(data) != span.length:
        raise TransferFailed(f"{source} is shorter than it was: {len(data)} of {span.length} bytes could be read")
    return data
