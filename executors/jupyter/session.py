"""An open session with a Jupyter server, whoever lets us in: what it offers is found out, and used."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from executors.base import (
    Completed,
    Lost,
    NoSpace,
    NoSuchFile,
    Refused,
    Span,
    TransferFailed,
    Unreachable,
)
from executors.jupyter import answers
from executors.jupyter.contents import Contents
from executors.jupyter.kernel import Kernel
from executors.jupyter.server import FILES, KERNEL, Answered, Server

DRAFTS = "drafts"
FILE_SECONDS = 60.0
START_SECONDS = 60.0
"""How long a kernel may take to start: on a busy machine its imports alone take many seconds."""

SAMPLE = b"ab"


class Session:
    """Connects to a server, under its folder `root`. It is closed with `close`, and closes `server`, too.

    What Jupyter's own program does and does not do with the answers of a proxy or another program in its place is
    looked at once, here: chunks that are appended, ranges of `/files`, and whether kernels see the same files.
    Raises Unreachable or Refused.
    """

    def __init__(self, server: Server, root: str) -> None:
        self.name = server.name
        self._server, self._folder = server, root
        self._contents = Contents(server)
        try:
            server.look()
            self._open()
        except BaseException:
            server.close()
            raise

    def close(self) -> None:
        """End the kernel and disconnect."""
        self._kernel.close()
        self._server.close()

    def put(self, source: Path, span: Span, path: str) -> None:
        """Write a part. See `Executor.put`."""
        draft = _draft()
        try:
            self._upload(source, span, draft)
            answer = self._ask("place", draft=draft, path=path, size=span.length)
            answers.check(self.name, answer, f"{path} could not be written")
        except BaseException:
            self._kernel.tell("drop", draft=draft)  # what it does not hear of is deleted after a day
            raise

    def _upload(self, source: Path, span: Span, draft: str) -> None:
        try:
            with self._connected():
                self._contents.upload(source, span, f"{self._folder}/{draft}")
        except TransferFailed as error:
            if self._ask("room").get("bytes", span.length) < span.length:
                raise NoSpace(f"{self.name}: the disk is full") from error
            raise

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file. See `Executor.get`."""
        with self._connected():
            return self._contents.read(self._folder, path, span) if self._ranges else self._cut(path, span)

    def _cut(self, path: str, span: Span) -> bytes:
        """Read a range where whole files are all that can be had: the kernel makes it one."""
        draft = _draft()
        try:
            answer = self._ask("cut", path=path, offset=span.offset, length=span.length, draft=draft)
            if answer.get("error") in answers.ABSENT:
                raise NoSuchFile(f"{self.name}: {path} is not there")
            answers.check(self.name, answer, f"{path} could not be read")
            return self._contents.read_whole(self._folder, draft)
        finally:
            self._kernel.tell("drop", draft=draft)

    def run(self, argv: Sequence[str], stdin: bytes, timeout: float) -> Completed:
        """Run a command in the root. See `Executor.run`."""
        answer = self._kernel.ask("run", timeout, **answers.to_run(argv, stdin, self.root))
        return answers.completed(self.name, answer, timeout)

    def _open(self) -> None:
        draft = _draft()
        try:
            self._make_folders()
            self._send_sample(draft)
        except Answered as error:
            said = f"{self.name}: {self._folder} cannot be used there: {error}"
            raise Unreachable(said, step=FILES) from error
        except (TransferFailed, NoSpace, Lost) as error:
            raise Unreachable(str(error), step=FILES) from error
        self._kernel = Kernel(self._server, self._folder)
        try:
            self._settle(draft)
            self._ranges = self._knows_ranges(draft)
            self._kernel.tell("drop", draft=draft)
        except BaseException:
            self._kernel.close()
            raise

    def _make_folders(self) -> None:
        parts = [*self._folder.split("/"), DRAFTS]
        for depth in range(1, len(parts) + 1):
            self._contents.make_folder("/".join(parts[:depth]))

    def _send_sample(self, draft: str) -> None:
        """Send two chunks: they are joined by a server that knows chunks, else the second takes the place of both."""
        with tempfile.NamedTemporaryFile() as sample:
            sample.write(SAMPLE)
            sample.flush()
            self._contents.send(Path(sample.name), [Span(0, 1), Span(1, 1)], f"{self._folder}/{draft}", True)

    def _settle(self, draft: str) -> None:
        try:
            found = self._kernel.ask("settle", START_SECONDS, root=self._folder, draft=draft)
        except Lost as error:
            raise Unreachable(f"{self.name}: its kernel did not start: {error}", step=KERNEL) from error
        if not found.get("root"):
            said = f"{self.name}: its kernels do not see the files that it serves {found.get('said', '')}".strip()
            raise Refused(said, step=KERNEL, hint="use a server whose files are on the disk its kernels run on")
        if found["version"] < [3, 8]:
            raise Unreachable(f"{self.name}: needs Python 3.8 or newer for its kernels", step=KERNEL)
        self.root, self.python = str(found["root"]), str(found["python"])
        self._contents.chunks = found["draft"].encode() == SAMPLE

    def _knows_ranges(self, draft: str) -> bool:
        try:
            return self._contents.read(self._folder, draft, Span(1, 1)) == SAMPLE[1:]
        except (NoSuchFile, TransferFailed, Refused):
            return False  # not served there, by another program, or to browsers only

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Who was connected and can connect no more has lost the target."""
        try:
            yield
        except Unreachable as error:
            raise Lost(str(error), step=error.step, hint=error.hint) from error

    def _ask(self, do: str, **order: Any) -> dict[str, Any]:
        return self._kernel.ask(do, FILE_SECONDS, **order)


def _draft() -> str:
    return f"{DRAFTS}/{secrets.token_hex(8)}"
