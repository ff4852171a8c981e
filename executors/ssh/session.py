"""An open session with a target: where its root is, which interpreter it has, and the link to it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial

from executors.base import Completed, ExecutorError, Unreachable
from executors.ssh import command, connection
from executors.ssh.address import Address
from executors.ssh.link import Link

PYTHONS = " ".join(["python3", *(f"python3.{minor}" for minor in range(20, 7, -1)), "python"])
SETUP_SECONDS = 60.0

SETUP = """
root={root}
mkdir -p -m 700 -- "$root" && cd -- "$root" && pwd || exit 3
find_python() {{
    for name in {pythons}; do
        path=$(command -v "$name") || continue
        "$path" -c "import sys; sys.exit(sys.version_info < (3, 8))" </dev/null >/dev/null 2>&1 || continue
        "$path" -c "import sys; print(sys.executable)" </dev/null
        return
    done
    return 1
}}
find_python && exit
PATH=$PATH:$("${{SHELL:-/bin/sh}}" -l -c "printenv PATH" </dev/null 2>/dev/null | tail -n 1)
find_python || exit 4
"""
"""Makes the root and tells it and an interpreter. Where the plain PATH has none, the login shell's is asked for."""


class Session:
    """Connects. Raises Unreachable, or Refused for an untrusted key and a failed login."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._connection = connection.connect(address)
        try:
            self.root, self.python = self._set_up(address)
            self.link = Link(self.name, self._connection, partial(connection.connect, address))
        except ExecutorError as error:
            connection.close(self._connection)
            raise Unreachable(str(error)) from error
        except BaseException:
            connection.close(self._connection)
            raise

    def run(self, argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        """Run a command in the root. See `Executor.run`."""
        return command.run(self.name, self._connection.transport, self.root, argv, stdin, timeout)

    def _set_up(self, address: Address) -> tuple[str, str]:
        home = address.root.startswith("~/")
        root = '"$HOME"/' + shlex.quote(address.root[2:]) if home else shlex.quote(address.root)
        script = SETUP.format(root=root, pythons=PYTHONS)
        done = command.execute(self.name, self._connection.transport, "", script, b"", SETUP_SECONDS)
        if done.status == 4:
            raise Unreachable(f"{self.name}: needs Python 3.8 or newer on {self.name}")
        words = done.stdout.decode("utf-8", "surrogateescape").splitlines()
        if done.status or len(words) != 2:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise Unreachable(f"{self.name}: cannot use {address.root} there: {said or f'status {done.status}'}")
        return words[0], words[1]
