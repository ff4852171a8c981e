"""The SSH executor. paramiko is imported when a target is looked at or entered, not before: it takes 0.3 s."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from executors.base import (
    Completed,
    Executor,
    ExecutorError,
    Lost,
    NoSpace,
    NoSuchFile,
    Probe,
    Span,
    TransferFailed,
    check_span,
    checked,
)
from executors.ssh.address import Address

if TYPE_CHECKING:
    from executors.ssh.session import Session

ABSENT = ("ENOENT", "ENOTDIR", "ELOOP")
FULL = ("ENOSPC", "EDQUOT")

COMMANDS_AT_ONCE = 6
"""sshd allows 10 sessions a connection; two are for files at most, and one must be left to kill with."""


class SSHExecutor(Executor):
    """Runs on the machine at `url` (ssh://[user@]host[:port][/root]), under the root or `~/.offload`.

    Options: `known_hosts` (our own file), `identity` (a private key's file), `ssh_config`, and the seconds
    `connect_timeout` and `silence` (see `Address`).
    """

    streams: ClassVar[int] = 6
    """As many as a link may get connections (see `link`). Each thread's part stays in memory: not more."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, options)
        self._session: Session | None = None
        self._commands = threading.BoundedSemaphore(COMMANDS_AT_ONCE)

    def probe(self, deadline: float) -> Probe:
        """See whether an SSH server greets us, at the target or at the first hop to it."""
        from executors.ssh import probe

        try:
            return probe.probe(Address.of(self.name, self.options), deadline)
        except ExecutorError as error:
            return Probe.failed(self.name, error)

    def __enter__(self) -> Self:
        """Connect, make the root and find an interpreter there. Raises Unreachable, Refused or NotInstalled."""
        from executors.ssh.probe import not_installed

        try:
            from executors.ssh.session import Session
        except ImportError as error:
            raise not_installed(self.name, error) from error
        self._session = Session(Address.of(self.name, self.options))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        session, self._session = self._session, None
        if session:
            session.link.close()

    def put(self, source: Path, span: Span, path: str) -> None:
        """Write a part, with a file server of ours on the target: it is there whole or not at all."""
        from executors.ssh.files import Refusal

        checked(path)
        check_span(span)
        link = self._entered.link
        try:
            with link.server() as server:
                server.put(source, span, path, link.observe)
        except Refusal as refusal:
            if refusal.reason in FULL:
                raise NoSpace(f"{self.name}: {path}: the disk is full") from refusal
            raise TransferFailed(f"{self.name}: {path} could not be written: {refusal}") from refusal

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file."""
        from executors.ssh.files import Refusal

        checked(path)
        check_span(span)
        link = self._entered.link
        try:
            with link.server() as server:
                return server.get(path, span, link.observe)
        except Refusal as refusal:
            if refusal.reason in ABSENT:
                raise NoSuchFile(f"{self.name}: {path} is not there") from refusal
            raise TransferFailed(f"{self.name}: {path} could not be read: {refusal}") from refusal

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command in a session of its own, through whatever login shell the user has."""
        session = self._entered
        if not self._commands.acquire(timeout=timeout):
            raise Lost(f"{self.name}: other commands left no room for another within {timeout:g} s")
        try:
            return session.run(argv, stdin, timeout)
        finally:
            self._commands.release()

    @property
    def python(self) -> str:
        """The interpreter found when connecting."""
        return self._entered.python

    @property
    def _entered(self) -> Session:
        if self._session is None:
            raise Lost(f"{self.name}: not connected")
        return self._session
