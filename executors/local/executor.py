"""The local executor. With `share = "no"` it behaves like a machine that shares no files with us."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from executors.base import (
    REPLY_BYTES,
    Completed,
    Executor,
    Lost,
    NoSpace,
    NoSuchFile,
    Probe,
    Span,
    TransferFailed,
    Unreachable,
    check_span,
    checked,
    read_part,
)

FOLDER = "folder"
STEPS = (FOLDER,)


class LocalExecutor(Executor):
    """Runs on this machine, under the folder named by the option `root`."""

    @property
    def root(self) -> Path:
        """The folder everything of this target lives in."""
        return Path(self.options["root"])

    def probe(self, deadline: float) -> Probe:
        """Reachable, unless the root cannot be a folder. Asks nothing that could take long."""
        try:
            home = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
            if not home.is_dir() or not os.access(home, os.W_OK):
                return self._unusable(home, "is not a folder that can be written")
            free = shutil.disk_usage(home).free
            return Probe(True, cpus=os.cpu_count(), disk_free_bytes=free, steps=STEPS)
        except OSError as error:
            return self._unusable(self.root, f"cannot be used: {error.strerror}")

    def _unusable(self, folder: Path, why: str) -> Probe:
        hint = shlex.join(["ls", "-ld", str(folder)])
        return Probe.failed(self.name, Unreachable(f"{folder} {why}", step=FOLDER, hint=hint), STEPS)

    def __enter__(self) -> Self:
        """Create the root. Raises Unreachable when that is impossible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            said = f"{self.name}: cannot create {self.root}: {error.strerror}"
            raise Unreachable(said, step=FOLDER, hint=shlex.join(["mkdir", "-p", str(self.root)])) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def put(self, source: Path, span: Span, path: str) -> None:
        """Write a part through a temporary name, so that it is there whole or not at all."""
        target, data = self._path(path), read_part(source, span)
        draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_bytes(data)
            draft.replace(target)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (NoSpace if full else TransferFailed)(f"{self.name}: {path}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def get(self, path: str, span: Span) -> bytes:
        """Read a range of a file."""
        check_span(span)
        try:
            with self._path(path).open("rb") as file:
                file.seek(span.offset)
                return file.read(span.length)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoSuchFile(f"{self.name}: {path} is not there") from error
        except OSError as error:
            raise TransferFailed(f"{self.name}: {path}: {error.strerror}") from error

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command as a session of its own: a Ctrl-C in this terminal is ours to handle, not its."""
        try:
            process = subprocess.Popen(
                argv,
                cwd=self.root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self.root.is_dir():
                return Completed(127, b"", f"{argv[0]}: no such program".encode())
            raise Lost(f"{self.name}: cannot start {argv[0]}: {error.strerror}") from error
        return self._finish(process, stdin, timeout)

    def _finish(self, process: subprocess.Popen[bytes], stdin: bytes, timeout: float) -> Completed:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired as error:
            raise Lost(f"{self.name}: a command did not end within {timeout:g} s") from error
        finally:
            if process.returncode is None:
                _kill_group(process)
        if len(stdout) > REPLY_BYTES:
            raise TransferFailed(f"{self.name}: a command printed {len(stdout)} bytes; {REPLY_BYTES} is the most")
        return Completed(process.returncode, stdout, stderr[-REPLY_BYTES:])

    @property
    def python(self) -> str:
        """The interpreter this program runs on."""
        return sys.executable

    def local_path(self, path: str) -> Path | None:
        """The file itself, unless the target is configured to share nothing."""
        return None if self.options.get("share") == "no" else self._path(path)

    def _path(self, path: str) -> Path:
        return self.root / checked(path)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it ended by itself in the meantime
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with suppress(BrokenPipeError):  # unsent input of a command that is gone
                pipe.close()
