"""The SSH executor. paramiko is imported when a target is looked at or entered, not before: it takes 0.3 s."""

from __future__ import annotations

import secrets
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

WHY = """
import errno, os, sys
path, length = sys.argv[1], int(sys.argv[2])
try:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "ab") as file:
        file.write(bytes(length))
        file.flush()
        os.fsync(file.fileno())
except OSError as error:
    print(errno.errorcode.get(error.errno, error.errno))
finally:
    if os.path.exists(path):
        os.unlink(path)
"""
"""Why a file cannot be written: SFTP says only that it failed. Tries the same again, and cleans up."""

COMMANDS_AT_ONCE = 6
"""sshd allows 10 sessions a connection; two are for files, and one must be left to kill with."""


class SSHExecutor(Executor):
    """Runs on the machine at `url` (ssh://[user@]host[:port][/root]), under the root or `~/.offload`.

    Options: `known_hosts` (our own file), `identity` (a private key's file), `ssh_config`, `connect_timeout`.
    """

    streams: ClassVar[int] = 8

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, options)
        self._session: Session | None = None
        self._commands = threading.BoundedSemaphore(COMMANDS_AT_ONCE)

    def probe(self, deadline: float) -> Probe:
        """See whether an SSH server greets us, at the target or at the first hop to it."""
        try:
            from executors.ssh import probe

            return probe.probe(Address.of(self.name, self.options), deadline)
        except ExecutorError as error:
            return Probe(False, str(error))
        except ImportError as error:
            return Probe(False, f"{error.name} is not installed here: pip install 'offload-broker[ssh]'")

    def __enter__(self) -> Self:
        """Connect, make the root and find an interpreter there. Raises Unreachable or Refused."""
        from executors.ssh.session import Session

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
        """Write a part through a temporary name, so that it is there whole or not at all."""
        from executors.ssh import files

        target = self._path(path)
        check_span(span)
        draft, link = f"{target}.{secrets.token_hex(4)}.tmp", self._entered.link
        try:
            with link.channel() as channel:
                files.write(channel, source, span, draft, link.observe)
                channel.sftp.posix_rename(draft, target)
        except (TransferFailed, FileNotFoundError) as error:
            raise self._why(error, path, draft, span.length) from error

    def _why(self, error: Exception, path: str, draft: str, length: int) -> ExecutorError:
        done = self.run([self.python, "-c", WHY, draft, str(length)])
        reason = done.stdout.decode("ascii", "replace").strip()
        if reason in ("ENOSPC", "EDQUOT"):
            return NoSpace(f"{self.name}: {path}: the disk is full")
        return TransferFailed(f"{self.name}: {path} could not be written: {reason or error}")

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file."""
        from executors.ssh import files

        target = self._path(path)
        check_span(span)
        link = self._entered.link
        try:
            with link.channel() as channel:
                return files.read(channel, target, span, link.observe)
        except FileNotFoundError as error:
            raise NoSuchFile(f"{self.name}: {path} is not there") from error

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

    def _path(self, path: str) -> str:
        return f"{self._entered.root}/{checked(path)}"
