"""An open session with a runtime through cgpu: files go up by its `copy`, all else is an order to a program there.

A call takes half a second to start, so few are made: an order travels on the command line, and a long one as a file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import tempfile
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from executors.base import (
    Completed,
    ExecutorError,
    Gone,
    Lost,
    NoQuota,
    NoSpace,
    NoSuchFile,
    Refused,
    Span,
    TransferFailed,
    Unreachable,
    read_part,
)
from executors.colab.address import ROOT, Address
from executors.colab.cgpu import CallFailed, Cgpu
from executors.colab.cgpu_login import CgpuLogin
from executors.colab.places import RUNTIME
from executors.jupyter import answers, helper
from executors.jupyter.session import DRAFTS, FILE_SECONDS

WORD_LETTERS = 3600
"""Longest order on the command line: a terminal in between may cut a line after 4096 letters."""

SMALL_BYTES = 16 * 1024
"""A part that may, packed, fit into an order: half of our scripts do."""

PIECE_BYTES = 2 * 1024 * 1024
"""What one call reads: less than a second's worth, at the speed at which cgpu prints."""

COPY_SECONDS = 300.0
"""A part of 8 MiB over a slow link."""

COLD_SECONDS = 300.0
"""A runtime has to be taken, and to start."""

NO_PROGRAM = b"can't open file"
"""Python's words where our program is not: on a machine that we do not know."""

ANSWER = re.compile(
    rb"^offload (?P<token>\w+) (?P<sha256>[0-9a-f]{64})\s(?P<text>.*?)^offload (?P=token) end", re.MULTILINE | re.DOTALL
)


class _NoProgram(Exception):
    """Our program is not there."""


class CgpuSession:
    """Connects to the account's runtime, which is taken if there is none. Raises NoQuota, Unreachable or Refused.

    `mark` is what tells its machine from another; `root` is its folder there, `python` its interpreter.
    """

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._silence = address.silence
        self._cgpu, self._login = Cgpu(address), CgpuLogin(address)
        self._there = f"{ROOT}/cgpu/{_version()}"
        self._gone, self._judging, self.mark = "", threading.Lock(), ""
        with self._login.cold():
            found = self._settle(address)
        self.mark, self.root, self.python = str(found["mark"]), str(found["root"]), str(found["python"])

    def put(self, source: Path, span: Span, path: str) -> None:
        """Write a part. See `Executor.put`."""
        data, draft = read_part(source, span), secrets.token_hex(8)
        order: dict[str, Any] = {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        try:
            if _is_small(data):
                order["text"] = data.decode("latin-1")
            else:
                self._upload(data, draft)
            answer = self._ask("place", draft=f"{DRAFTS}/{draft}", **order)
            answers.check(self.name, answer, f"{path} could not be written")
        except (TransferFailed, NoSpace):
            with suppress(ExecutorError):  # what it does not hear of is deleted after a day
                self._ask("drop", draft=f"{DRAFTS}/{draft}")
            raise

    def _upload(self, data: bytes, draft: str) -> None:
        try:
            self._copy(data, f"{DRAFTS}/{draft}")
        except CallFailed as error:
            if self._ask("room").get("bytes", len(data)) < len(data):
                raise NoSpace(f"{self.name}: the disk is full") from error
            raise TransferFailed(f"{self.name}: cgpu did not copy a part: {error}") from error

    def _copy(self, data: bytes, place: str) -> None:
        with tempfile.NamedTemporaryFile(prefix="offload-") as part:
            part.write(data)
            part.flush()
            self._known_alive()
            try:
                self._cgpu.copy(part.name, f"/{ROOT}/{place}", COPY_SECONDS)
            except Unreachable as error:
                raise Lost(str(error), step=error.step, hint=error.hint) from error

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file, a piece at a time. See `Executor.get`."""
        found = bytearray()
        while True:
            wanted = min(PIECE_BYTES, span.length - len(found))
            piece = self._read(path, span.offset + len(found), wanted)
            found += piece
            if len(piece) < wanted or len(found) >= span.length:
                return bytes(found)

    def _read(self, path: str, offset: int, length: int) -> bytes:
        answer = self._ask("read", path=path, offset=offset, length=length)
        if answer.get("error") in answers.ABSENT:
            raise NoSuchFile(f"{self.name}: {path} is not there")
        answers.check(self.name, answer, f"{path} could not be read")
        data: bytes = answer["data"]
        return data

    def run(self, argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        """Run a command in the root. See `Executor.run`. It is ended there when its time is over."""
        answer = self._ask("run", timeout, **answers.to_run(argv, stdin, self.root))
        return answers.completed(self.name, answer, timeout)

    # Orders

    def _ask(self, do: str, timeout: float = FILE_SECONDS, **order: Any) -> dict[str, Any]:
        """Give an order to the machine that was entered, and to no other. Raises Gone, Lost or Refused."""
        self._known_alive()
        try:
            answer = self._order(do, timeout, self._silence, **order)
        except (CallFailed, _NoProgram, NoQuota) as error:
            raise self._judged(error) from error
        except Unreachable as error:
            raise Lost(str(error), step=error.step, hint=error.hint) from error
        if answer.get("error") == "another machine":
            raise self._is_gone()
        return answer

    def _order(self, do: str, timeout: float, patience: float, **order: Any) -> dict[str, Any]:
        token = secrets.token_hex(8)
        whole = {"do": do, "token": token, "mark": self.mark, "timeout": timeout, **order}
        packed = zlib.compress(json.dumps(whole).encode())
        word = base64.urlsafe_b64encode(packed).decode()
        if len(word) > WORD_LETTERS:
            word = f"@{token}"
            self._copy(packed, f"{DRAFTS}/{token}")
        return self._say(word, token, timeout + patience)

    def _say(self, word: str, token: str, seconds: float) -> dict[str, Any]:
        try:
            said = self._cgpu.run(["python3", "-SE", f"{self._there}/cgpu_there.py", word], seconds)
        except CallFailed as error:
            if NO_PROGRAM in error.said:
                raise _NoProgram from error
            raise
        return self._read_answer(said, token)

    def _read_answer(self, said: bytes, token: str) -> dict[str, Any]:
        found = ANSWER.search(said)
        if found is None or found["token"] != token.encode():
            raise CallFailed(f"{self.name}: cgpu brought no answer back: the connection was lost")
        whole = base64.b64decode(b"".join(found["text"].split()))
        if hashlib.sha256(whole).hexdigest() != found["sha256"].decode():
            raise TransferFailed(f"{self.name}: what a command there printed did not arrive whole")
        head, _, data = whole.partition(b"\n")
        answer: dict[str, Any] = json.loads(head)
        return {**answer, "data": data}

    # Which machine it is

    def _settle(self, address: Address) -> dict[str, Any]:
        try:
            found = self._first_look()
        except Lost as error:
            raise Unreachable(str(error), step=RUNTIME, hint=error.hint) from error
        if "error" in found:
            raise Unreachable(f"{self.name}: {ROOT} cannot be used there: {found.get('said', '')}", step=RUNTIME)
        if found["version"] < [3, 8]:
            raise Unreachable(f"{self.name}: needs Python 3.8 or newer there", step=RUNTIME)
        return found

    def _first_look(self) -> dict[str, Any]:
        with suppress(_NoProgram):
            return self._order("settle", FILE_SECONDS, COLD_SECONDS)
        self._install()
        try:
            return self._order("settle", FILE_SECONDS, self._silence)
        except _NoProgram:
            said = f"{self.name}: what cgpu copies to /{ROOT} is not what its commands find in {ROOT}"
            raise Refused(said, step=RUNTIME) from None

    def _install(self) -> None:
        self._cgpu.run(["mkdir", "-p", self._there, f"{ROOT}/{DRAFTS}"], COLD_SECONDS)
        for source in _programs():
            self._cgpu.copy(str(source), f"/{self._there}/{source.name}", COPY_SECONDS)

    def _known_alive(self) -> None:
        if self._gone:
            raise Gone(self._gone, step=RUNTIME)

    def _judged(self, error: Exception) -> ExecutorError:
        """Whether what broke was the connection, or the machine is gone: cgpu says the same of both.

        One at a time, and under the lock of who may be the first: where it is gone, cgpu takes another to look.
        """
        with self._judging, self._login.cold():
            self._known_alive()
            if isinstance(error, (_NoProgram, NoQuota)):  # which is only asked about where there is no runtime
                return self._is_gone()
            try:
                found = self._order("settle", FILE_SECONDS, COLD_SECONDS)
            except (_NoProgram, NoQuota):
                return self._is_gone()
            except ExecutorError as failed:
                return Lost(f"{error}; {failed}", step=failed.step, hint=failed.hint)
        if found.get("error") == "another machine":
            return self._is_gone()
        return error if isinstance(error, ExecutorError) else Lost(str(error))

    def _is_gone(self) -> Gone:
        self._gone = f"{self.name}: the runtime is gone, and what was not downloaded is lost with it"
        return Gone(self._gone, step=RUNTIME)


def _is_small(data: bytes) -> bool:
    """Whether a part fits, packed, into an order on the command line; there is more in an order than the part."""
    return len(data) <= SMALL_BYTES and len(zlib.compress(data)) < WORD_LETTERS * 2 // 3


def _programs() -> tuple[Path, Path]:
    return Path(helper.__file__), Path(__file__).with_name("cgpu_there.py")


@cache
def _version() -> str:
    """What tells these programs from those of another version."""
    return hashlib.sha256(b"".join(source.read_bytes() for source in _programs())).hexdigest()[:16]
