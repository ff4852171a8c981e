"""An open session with a target: where its root is, which interpreter it has, and the link to its files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

import paramiko

from executors.base import Completed, Unreachable
from executors.ssh import command, connection, files, link
from executors.ssh.address import Address

PYTHONS = " ".join(["python3", *(f"python3.{minor}" for minor in range(20, 7, -1)), "python"])

REKEY_BYTES = 2**36
"""What one key may encrypt: RFC 4344's limit for blocks of 16 bytes, and OpenSSH's default. paramiko's own is 2**29.

When paramiko starts an exchange of keys and a channel ends in the middle of it, the connection stands still for 30 s
and is then lost. Exchanges that the server starts do no harm.
"""

SETUP = """
root={root}
mkdir -p -m 700 -- "$root" && cd -- "$root" || exit 3
serve() {{
    for name in {pythons}; do
        path=$(command -v "$name") || continue
        "$path" -c "import sys; sys.exit(sys.version_info < (3, 8))" </dev/null >/dev/null 2>&1 || continue
        "$path" "$@"
        exit
    done
}}
serve "$@"
PATH=$PATH:$("${{SHELL:-/bin/sh}}" -l -c "printenv PATH" </dev/null 2>/dev/null | tail -n 1)
serve "$@"
exit 4
"""
"""Makes the root and starts an interpreter in it. Where the plain PATH has none, the login shell's is asked for."""


class Session:
    """Connects. Raises Unreachable, or Refused for an untrusted key and a failed login."""

    def __init__(self, address: Address) -> None:
        self.name, self._silence = address.name, address.silence
        self._connection = _connect(address)
        try:
            server = self._set_up(address)
            self.root, self.python = server.folder, server.python
            self.link = link.Link(self.name, self._connection, server, partial(_connect, address), address.silence)
        except BaseException:
            connection.close(self._connection)
            raise

    def run(self, argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        """Run a command in the root. See `Executor.run`."""
        transport = self._connection.transport
        return command.run(self.name, transport, self.root, argv, stdin, timeout, self._silence)

    def _set_up(self, address: Address) -> files.FileServer:
        home = address.root.startswith("~/")
        root = '"$HOME"/' + shlex.quote(address.root[2:]) if home else shlex.quote(address.root)
        try:
            script = SETUP.format(root=root, pythons=PYTHONS)
            return files.start(self.name, self._connection.transport, script, address.silence)
        except files.NotStarted as error:
            step = "Python" if error.status == 4 else "folder"
            raise Unreachable(_why(address, error), step=step) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(str(link.meaning(self.name, self._connection.transport, error))) from error


def _connect(address: Address) -> Any:
    target = connection.connect(address)
    for hop in connection.hops(target):
        hop.transport.packetizer.REKEY_BYTES = REKEY_BYTES
    return target


def _why(address: Address, error: files.NotStarted) -> str:
    if error.status == 4:
        return f"{address.name}: needs Python 3.8 or newer on {address.name}"
    return f"{address.name}: cannot use {address.root} there: {error.said or f'status {error.status}'}"
