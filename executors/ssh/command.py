"""Commands over an SSH channel: quoted once, drained on both streams, ended with their children.

sshd hands one string to the user's login shell, whatever that is. So the string holds a script for /bin/sh written
in characters that no shell takes for special; sh decodes and runs it. The script first prints a mark and its process
group: what stands before the mark on stdout or stderr is the login files' noise.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shlex
import string
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import paramiko

from executors.base import REPLY_BYTES, Completed, Lost, TransferFailed

PLAIN = frozenset((string.ascii_letters + string.digits + "_./,:=+-").encode())
KILL_SECONDS = 10.0
POLL_SECONDS = 0.02


TO_ITS_END = "trap 'status=$?; exec >&- 2>&-; cat >/dev/null; exit $status' EXIT\n"
"""Begins each script, which then waits for the end of its input before it ends.

Else the channel may close while paramiko, in another thread, is about to send on it. An sshd that is sent something for
a channel that is gone hangs up the whole connection.
"""


class OutOfTime(Exception):
    """A command outlasted its deadline."""


def line(script: str) -> str:
    """Return a command line that makes any login shell run a script of /bin/sh. It becomes the session's leader.

    The channel must be sent its end of input.
    """
    told = os.fsencode(TO_ITS_END + script)
    encoded = "".join(chr(byte) if byte in PLAIN else f"\\0{byte:03o}" for byte in told)
    return f"exec /bin/sh -c 'eval \"$(printf %b \"$0\")\"' '{encoded}'"


@dataclass
class Output:
    """What a command has printed so far: stdout up to the limit and a little more, the end of stderr."""

    mark: bytes
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)

    def reply(self) -> bytes:
        """Stdout after the mark and the line it is on."""
        return _after(self.mark, self.stdout)

    def complaints(self) -> bytes:
        """The last of stderr, without what the login files said."""
        return _after(self.mark, self.stderr)[-REPLY_BYTES:]

    def note(self) -> bytes | None:
        """What stands on the mark's line, None until all of it has come."""
        _, mark, rest = self.stdout.partition(self.mark)
        note, newline, _ = rest.partition(b"\n")
        return bytes(note) if mark and newline else None

    def group(self) -> int | None:
        """The process group of the command, None until it has told it."""
        note = self.note()
        return int(note) if note else None


def _after(mark: bytes, printed: bytearray) -> bytes:
    before, found, after = bytes(printed).partition(mark)
    return after.partition(b"\n")[2] if found else before


def run(
    name: str, transport: Any, folder: str, argv: Sequence[str], stdin: bytes, timeout: float, silence: float
) -> Completed:
    """Run a command in `folder` on the target called `name`. See `Executor.run`.

    It has to begin within `silence` seconds: a target that does not even do that will not end it either.
    """
    mark = f"offload-{secrets.token_hex(8)} "
    note = f"printf '%s%d\\n' '{mark}' $$"
    script = f"cd -- {shlex.quote(folder)} || exit\n{note}; {note} >&2\n{shlex.join(argv)}"
    output = Output(mark.encode())
    silence = min(silence, timeout)
    began = time.monotonic()
    try:
        channel = transport.open_session(timeout=silence)
        with channel:
            status = _converse(channel, line(script), stdin, output, began + timeout, began + silence)
    except (OutOfTime, TransferFailed) as error:
        kill(transport, output.group())
        if isinstance(error, OutOfTime) and output.group() is None:
            raise Lost(f"{name}: it does not answer any more") from error
        if isinstance(error, OutOfTime):
            raise Lost(f"{name}: a command did not end within {timeout:g} s") from error
        raise TransferFailed(f"{name}: {error}") from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise Lost(f"{name}: the connection broke: {error or 'it hung up'}") from error
    if status == -1 and broken(transport):
        raise Lost(f"{name}: the connection broke while a command ran")
    if output.group() is None:
        said = output.complaints().decode("utf-8", "replace").strip()
        raise Lost(f"{name}: commands cannot be started there: {said or f'status {status}'}")
    return Completed(status, output.reply(), output.complaints())


def _converse(channel: Any, command: str, stdin: bytes, output: Output, deadline: float, first_word: float) -> int:
    """Feed and drain a command to its end. Returns its status, -1 when a signal or the connection ended it.

    Raises OutOfTime at the deadline, or when it has not begun to speak by `first_word`.
    """
    channel.settimeout(max(0.1, deadline - time.monotonic()))
    channel.exec_command(command)
    unsent = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while not _finished(channel):
            unsent = _feed(channel, unsent)
            left = (first_word if output.group() is None else deadline) - time.monotonic()
            if left <= 0:
                raise OutOfTime
            selector.select(min(left, POLL_SECONDS) if unsent else left)
            _drain(channel, output)
    channel.shutdown_write()
    if not channel.status_event.wait(max(0.1, deadline - time.monotonic())):
        raise OutOfTime
    return int(channel.exit_status)


def _finished(channel: Any) -> bool:
    ended = channel.closed or channel.eof_received
    return ended and not channel.recv_ready() and not channel.recv_stderr_ready()


def _feed(channel: Any, unsent: memoryview) -> memoryview:
    """Send what the other side has room for; after the last byte, end its input."""
    with suppress(OSError):  # a command may end without reading
        while unsent and channel.send_ready():
            unsent = unsent[channel.send(unsent) :]
        if not unsent and not channel.eof_sent:
            channel.shutdown_write()
    return unsent


def _drain(channel: Any, output: Output) -> None:
    if channel.recv_ready():
        output.stdout += channel.recv(REPLY_BYTES)
        if len(output.reply()) > REPLY_BYTES or len(output.stdout) > 4 * REPLY_BYTES:
            raise TransferFailed(f"a command printed more than the {REPLY_BYTES} bytes allowed")
    if channel.recv_stderr_ready():
        output.stderr += channel.recv_stderr(REPLY_BYTES)
        del output.stderr[: -2 * REPLY_BYTES]


def kill(transport: Any, group: int | None) -> None:
    """End a command and its children, as far as the connection still allows."""
    if group is None:
        return
    with suppress(paramiko.SSHException, OSError, EOFError), transport.open_session(timeout=KILL_SECONDS) as channel:
        channel.settimeout(KILL_SECONDS)
        channel.exec_command(line(f"kill -KILL -{group}"))
        channel.shutdown_write()
        channel.status_event.wait(KILL_SECONDS)


def broken(transport: Any) -> bool:
    """Tell whether a connection is gone. Its channels end a moment before it does: wait for that moment."""
    transport.join(0.5)
    return not transport.is_alive()
