"""Parts of files over a channel at whose other end `fileserver.py` is at work.

Not SFTP: reading its replies takes paramiko longer than receiving the bytes, it replaces a file only where OpenSSH's
extension is, and it does not say why it failed.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from executors.base import REPLY_BYTES, Lost, Span, read_part
from executors.ssh import command

SERVER = Path(__file__).with_name("fileserver.py").read_text("utf-8")

SEND_BYTES = 256 * 1024
"""How much of a local file is in memory at once."""

RECEIVE_BYTES = 64 * 1024
"""Two packets. Half of it was a third slower, all that waits a tenth: measured on one machine."""

LAST_WORDS_SECONDS = 5.0

Observe = Callable[[int, float], None]


class NotStarted(Lost):
    """No file server came up: `status` is how the shell ended, `said` what it complained about."""

    def __init__(self, name: str, status: int, said: str) -> None:
        super().__init__(f"{name}: files cannot be reached there: {said or f'status {status}'}")
        self.status, self.said = status, said


class Refusal(Exception):
    """The file server could not do it and is ready for more. `reason` is the error's name, as in ENOENT."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class FileServer:
    """A file server on the target and the channel to it, for one thread at a time.

    `folder` is where it works, `python` the interpreter that runs it, `round_trip` the seconds an answer takes,
    `output` what it said when it started. Where a call fails with anything but a Refusal, the channel is of no more
    use: EOFError when the server or the connection ended, TimeoutError when neither speaks.
    """

    stream: Any
    folder: str
    python: str
    round_trip: float
    output: command.Output

    def put(self, source: Path, span: Span, path: str, observe: Observe) -> None:
        """Write `span` of a local file to `path`, whole or not at all.

        Raises Refusal, and TransferFailed when `source` has no such span any more.
        """
        started = time.monotonic()
        self._send(f"put {span.length} {path}\n".encode())
        for piece in _pieces(span):
            self._send(read_part(source, piece))
            observe(piece.offset + piece.length - span.offset, time.monotonic() - started)
        self._answer()

    def get(self, path: str, span: Span, observe: Observe) -> bytes:
        """Read `span` of `path`; short at the file's end. Raises Refusal."""
        started = time.monotonic()
        self._send(f"get {span.offset} {span.length} {path}\n".encode())
        size, beginning = self._answer()
        data = BytesIO()  # hands out what was written to it without another copy
        data.write(beginning)
        while data.tell() < size <= span.length:
            data.write(self._receive())
            observe(data.tell(), time.monotonic() - started)
        if data.tell() != size:
            raise OSError("it sends more than it was asked for")
        return data.getvalue()

    def _send(self, data: bytes) -> None:
        try:
            self.stream.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise EOFError(self._last_words()) from error

    def _receive(self) -> bytes:
        data: bytes = self.stream.recv(RECEIVE_BYTES)
        if not data:
            raise EOFError(self._last_words())
        return data

    def _answer(self) -> tuple[int, bytes]:
        """The number that was answered, and what has come after it."""
        said = self._receive()
        while b"\n" not in said and len(said) < RECEIVE_BYTES:
            said += self._receive()
        word, _, rest = said.partition(b"\n")
        if re.fullmatch(rb"E[A-Z0-9]{1,30}", word):
            raise Refusal(word.decode())
        if not re.fullmatch(rb"[0-9]{1,10}", word):
            raise OSError("it answers what nobody asked")
        return int(word), rest

    def _last_words(self) -> str:
        lines = _complaints(self.stream, self.output).split("\n")
        return f"its file server ended: {lines[-1]}" if lines[-1] else "its file server ended"


def start(name: str, transport: Any, script: str, silence: float) -> FileServer:
    """Start a file server with a script of sh that ends in `PYTHON "$@"`, in the folder it is to work in.

    One that says nothing for `silence` seconds is given up, now and later.
    Raises NotStarted, paramiko's SSHException, OSError or EOFError.
    """
    output = command.Output(f"offload-{secrets.token_hex(8)} ".encode())
    mark = output.mark.decode()
    words = shlex.join(["-I", "-S", "-c", SERVER, mark])
    asked = time.monotonic()
    stream = transport.open_session(timeout=silence)
    opened = time.monotonic()
    try:
        stream.settimeout(silence)
        stream.exec_command(command.line(f"echo '{mark}' >&2\nset -- {words}\n{script}"))
        round_trip = min(opened - asked, time.monotonic() - opened)  # the other may have met a busy machine
        folder, python = _greeting(name, stream, output)
    except BaseException:
        stream.close()
        raise
    return FileServer(stream, folder, python, round_trip, output)


def _greeting(name: str, stream: Any, output: command.Output) -> tuple[str, str]:
    while (note := output.note()) is None:
        piece = stream.recv(RECEIVE_BYTES)
        output.stdout += piece
        if not piece:
            raise _ending(name, stream, output)
        if len(output.stdout) > 4 * REPLY_BYTES:
            raise NotStarted(name, 0, "its login files print too much")
    try:
        folder, python = json.loads(note)
    except ValueError as error:
        raise NotStarted(name, 0, "it greets in words nobody knows") from error
    return str(folder), str(python)


def _ending(name: str, stream: Any, output: command.Output) -> Exception:
    said = _complaints(stream, output)
    stream.shutdown_write()
    if not stream.status_event.wait(LAST_WORDS_SECONDS) or stream.exit_status == -1:
        return EOFError("it hung up")
    return NotStarted(name, stream.exit_status, said)


def _complaints(stream: Any, output: command.Output) -> str:
    """What a command that ended has printed on stderr, the last of it."""
    stream.settimeout(LAST_WORDS_SECONDS)
    with suppress(OSError):  # a child of it may keep stderr open
        while piece := stream.recv_stderr(REPLY_BYTES):
            output.stderr += piece
            del output.stderr[: -2 * REPLY_BYTES]
    return output.complaints().decode("utf-8", "replace").strip()


def _pieces(span: Span) -> Iterator[Span]:
    for offset in range(0, span.length, SEND_BYTES):
        yield Span(span.offset + offset, min(SEND_BYTES, span.length - offset))
