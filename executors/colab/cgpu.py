"""The command `cgpu`: what it is asked, what it prints, and what that means.

It prints much that is no answer, waits for ever for a person when its login is over, and when it was killed leaves
running what it started there. So each call has an end of its own, nothing to read, and its status
alone says nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from executors.base import ExecutorError, Lost, NoQuota, NotInstalled, Refused, Unreachable
from executors.colab.address import Address
from executors.colab.cgpu_login import CONNECT, CgpuLogin
from executors.colab.places import COLAB, LOGIN, QUOTA, RUNTIME

PROGRAM = "cgpu"
AUTHENTICATED = b"Authenticated as "
ASKS_A_PERSON = b"Starting OAuth login"
HAS_NO_LOGIN = b"Missing Colab OAuth credentials"

QUOTA_WORDS = re.compile(r"quota|too many|\b412\b|\b503\b|no machine", re.IGNORECASE)
BLOCKED_WORDS = re.compile(r"denylist|blocked|suspected abus", re.IGNORECASE)
"""What its errors say where Colab gives no runtime: Google's words, of which only these are relied on."""

GPUS = re.compile(rb"Eligible GPUs:([^\n.]*)")


class CallFailed(Lost):
    """It was let in, and then something broke there: the connection, or the machine. `said` is what it printed."""

    said: bytes = b""


@dataclass(frozen=True)
class Said:
    """What a call printed; `status` is None where it had to be ended."""

    status: int | None
    output: bytes

    @property
    def authenticated(self) -> bool:
        """Whether its login was good."""
        return self.status == 0 or AUTHENTICATED in self.output

    @property
    def found_no_login(self) -> bool:
        """Whether there was none, which it would have a person make."""
        return ASKS_A_PERSON in self.output or HAS_NO_LOGIN in self.output

    @property
    def rest(self) -> bytes:
        """What it printed beside who is logged in."""
        lines = self.output.splitlines(keepends=True)
        return b"".join(line for line in lines if not line.startswith(AUTHENTICATED))

    @property
    def last(self) -> str:
        """Its last words, for a sentence."""
        words = self.rest.decode("utf-8", "replace").split("\n")
        return next((line.strip()[:200] for line in reversed(words) if line.strip()), "it said nothing")


class Cgpu:
    """Calls it, for the target at `address`. Raises NotInstalled where it is not on PATH. Safe from several threads."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._address, self._login = address, CgpuLogin(address)
        found = shutil.which(PROGRAM)
        if found is None:
            said = f"{self.name}: there is no command {PROGRAM} on PATH"
            raise NotInstalled(said, step="packages here", hint="npm install --global cgpu")
        # By `env`: what else this process inherited is its own, too.
        self._words = ["env", f"CGPU_CONFIG_DIR={address.cgpu}", found]

    def status(self, seconds: float) -> tuple[str, ...]:
        """The kinds of GPU that the account may have; no runtime is taken. Raises Unreachable or Refused."""
        found = GPUS.search(self._ask(["status"], seconds).output)
        return tuple(word.strip().upper() for word in found[1].decode().split(",") if word.strip()) if found else ()

    def run(self, words: Sequence[str], seconds: float) -> bytes:
        """What a command there prints; words of letters, digits and `/._=+-` alone arrive as they are.

        Takes a runtime where there is none. Raises CallFailed, Lost, NoQuota, Unreachable or Refused.
        """
        return self._ask(["run", "--", *words], seconds).rest

    def copy(self, source: str, place: str, seconds: float) -> None:
        """Copy a file of this machine to a place whose folder is there. Raises as `run` does."""
        self._ask(["copy", source, place], seconds)

    def _ask(self, words: Sequence[str], seconds: float) -> Said:
        with self._login.guarded() as guard:
            said = self._call(words, seconds)
            guard.authenticated, guard.found_none = said.authenticated, said.found_no_login
        if said.status != 0:
            raise guard.verdict or self._error(said, seconds)
        return said

    def _call(self, words: Sequence[str], seconds: float) -> Said:
        output = bytearray()
        with subprocess.Popen(
            [*self._words, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            late = threading.Timer(seconds, _kill, [process])
            late.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    output += line
                    if ASKS_A_PERSON in line:  # who would never come
                        break
                else:
                    process.wait()
            finally:
                late.cancel()
                ended = process.poll()
                _kill(process)
        return Said(ended if ended is not None and ended >= 0 else None, bytes(output))

    def _error(self, said: Said, seconds: float) -> ExecutorError:
        if said.found_no_login:
            return Refused(f"{self.name}: cgpu is not logged in to Colab", step=LOGIN, hint=CONNECT)
        if not said.authenticated:
            why = said.last if said.status is not None else f"no answer within {seconds:g} s"
            return Unreachable(f"{self.name}: cgpu cannot reach Colab: {why}", step=COLAB)
        if said.status is None:
            return Lost(f"{self.name}: cgpu did not end by itself within {seconds:g} s")
        return self._turned_down(said)

    def _turned_down(self, said: Said) -> ExecutorError:
        if QUOTA_WORDS.search(said.last):
            return NoQuota(f"{self.name}: Colab gives cgpu no runtime at present: {said.last}", step=QUOTA)
        if BLOCKED_WORDS.search(said.last):
            return Refused(f"{self.name}: Colab refuses runtimes to this account: {said.last}", step=RUNTIME)
        failed = CallFailed(f"{self.name}: cgpu lost the runtime: {said.last} (its status is {said.status})")
        failed.said = said.output
        return failed


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it with what it started here, a browser too. What runs there has an end of its own."""
    with suppress(ProcessLookupError, PermissionError):  # it is over
        os.killpg(process.pid, signal.SIGKILL)
