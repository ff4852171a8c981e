"""The only mover of files between here and a target: inputs in, as parts; outputs out, checked."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from broker import policy
from broker.agent import Agent
from broker.errors import InputError, IntegrityError, Interrupted
from broker.job import FileId, Item
from broker.reports import Checkpoint
from broker.stop import Stop
from executors.base import PART_BYTES, Executor, NoSuchFile, Span

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

SUFFIX_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
ASSEMBLE_TRIES = 3
FETCH_TRIES = 3
FETCH_BYTES = 2 * 1024 * 1024
"""How much of a result a stream asks for at once: with whole parts, what waits in memory grew to 120 MB."""
UMASK = Lock()
ASKED = 200
"""How many blobs a target is asked about at once: a reply is at most 64 KB, and tells of up to 2000 parts too."""


@dataclass(frozen=True)
class Piece:
    """A checkpoint that lies here, whole when it was looked at last."""

    checkpoint: Checkpoint
    path: Path
    file_id: FileId


@dataclass(frozen=True)
class Upload:
    """A file that a target is to have. `check` says, by what it raises, why it could not be sent: it has changed."""

    path: Path
    size: int
    sha256: str
    check: Callable[[], None] = lambda: None


def stage_in(
    executor: Executor,
    agent: Agent,
    items: Iterable[Item],
    stop: Stop,
    pieces: Sequence[Piece] = (),
    count: Callable[[int], None] = lambda sent: None,
) -> list[dict[str, Any]]:
    """Make the items' inputs, and the pieces to go on from, available; returns what `start` needs to find them.

    A target that shares files with us reads them where they are. Otherwise only what it lacks is sent, and `count`
    told how many bytes that was.
    Raises InputError when an input is not the file it was, ExecutorError and IntegrityError when the target
    fails us, Interrupted when stopped between two parts.
    """
    items = list(items)
    for item in items:
        check_unchanged(item)
    shared = executor.local_path("jobs") is not None
    if not shared:
        count(send(executor, agent, _uploads(items, pieces), stop))
    return [_entry(item, [piece for piece in pieces if piece.checkpoint.index == item.index], shared) for item in items]


def _uploads(items: Iterable[Item], pieces: Iterable[Piece]) -> dict[str, Upload]:
    inputs = [Upload(item.source, item.file_id.size, item.sha256, partial(check_unchanged, item)) for item in items]
    others = [Upload(piece.path, piece.checkpoint.size, piece.checkpoint.sha256) for piece in pieces]
    return {upload.sha256: upload for upload in (*others, *inputs)}


def check_unchanged(item: Item) -> None:
    """Raise InputError when an input has changed since the job was made.

    One that was only linked, renamed or given another mode is hashed again: it has not.
    """
    try:
        now = FileId.of(item.source)
        same = now == item.file_id or (now.is_like(item.file_id) and file_sha256(item.source) == item.sha256)
    except OSError as error:
        raise InputError(f"{item.source} cannot be read any more: {error.strerror}") from error
    if not same:
        raise InputError(f"{item.source} changed while the job was under way", "run the same command again")


def _entry(item: Item, pieces: Iterable[Piece], shared: bool) -> dict[str, Any]:
    named = {"index": item.index, "suffix": safe_suffix(item.source)}
    content = _in_place(item.source, item.file_id) if shared else {"blob": item.sha256}
    found = [
        {"name": piece.checkpoint.name}
        | (_in_place(piece.path, piece.file_id) if shared else {"blob": piece.checkpoint.sha256})
        for piece in pieces
    ]
    return named | content | ({"checkpoints": found} if found else {})


def _in_place(path: Path, file_id: FileId) -> dict[str, Any]:
    return {"path": str(path), "size": file_id.size, "mtime_ns": file_id.mtime_ns}


def safe_suffix(path: Path) -> str:
    """The suffix of a user's file if it is a plain one: all of its name that ever reaches a target."""
    suffix = path.suffix.lower()
    return suffix if 2 <= len(suffix) <= 8 and SUFFIX_CHARS.issuperset(suffix[1:]) else ""


def send(executor: Executor, agent: Agent, uploads: dict[str, Upload], stop: Stop) -> int:
    """Send the target those of the files (by sha256) that it lacks; returns the bytes. Raises as `stage_in` does."""
    names, sent = list(uploads), 0
    for start in range(0, len(names), ASKED):
        told = agent.parts(names[start : start + ASKED])
        lacking = [(uploads[sha256], dict(known["parts"])) for sha256, known in told.items() if not known["here"]]
        _send_all(executor, agent, lacking, stop)
        sent += sum(upload.size - sum(there.values()) for upload, there in lacking)
    return sent


def _send_all(executor: Executor, agent: Agent, lacking: list[tuple[Upload, dict[int, int]]], stop: Stop) -> None:
    # A file of many parts has the streams to itself; of those that are one part, which is mostly waiting, each has one.
    for upload, there in lacking:
        if upload.size > PART_BYTES:
            _send(executor, agent, upload, there, stop)
    small = [(upload, there) for upload, there in lacking if upload.size <= PART_BYTES]
    with _streams(executor) as streams:
        list(streams.map(lambda one: _send(executor, agent, one[0], one[1], stop), small))


def _send(executor: Executor, agent: Agent, upload: Upload, there: dict[int, int], stop: Stop) -> None:
    spans = list(_spans(upload.size, PART_BYTES))
    for tries_left in reversed(range(ASSEMBLE_TRIES)):
        missing = [(n, span) for n, span in enumerate(spans) if there.get(n) != span.length]
        try:
            _send_parts(executor, upload, missing, stop)
        finally:
            upload.check()  # a better reason than any transfer's for why it failed
        try:
            agent.assemble(upload.sha256, upload.size, len(spans))
            return
        except IntegrityError:
            if not tries_left:
                raise
            there = {}  # the target threw the damaged parts away


def _send_parts(executor: Executor, upload: Upload, parts: list[tuple[int, Span]], stop: Stop) -> None:
    def send(part: tuple[int, Span]) -> None:
        number, span = part
        if stop.requested:
            raise Interrupted("stopped while its input was on its way")
        policy.transfer(partial(executor.put, upload.path, span, f"parts/{upload.sha256}/{number}"))

    with _streams(executor) as streams:
        list(streams.map(send, parts))


def _streams(executor: Executor) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # and logging with it: not for what travels nowhere

    return ThreadPoolExecutor(executor.streams)


def _spans(size: int, most: int) -> Iterator[Span]:
    for offset in range(0, size, most):
        yield Span(offset, min(most, size - offset))


def fetch(executor: Executor, path: str, size: int, sha256: str, part: Path) -> None:
    """Bring a target's file to the local file `part`, durable and with the right content.

    Raises IntegrityError when it is, time and again, not what the script said it wrote; OSError when it cannot
    be stored here.
    """
    for _ in range(FETCH_TRIES):
        _bring(executor, path, size, part)
        if part.stat().st_size == size and file_sha256(part) == sha256:
            make_durable(part)
            return
        part.unlink()
    raise IntegrityError(f"{path} arrived from {executor.name} with another content than it left with")


def _bring(executor: Executor, path: str, size: int, part: Path) -> None:
    part.unlink(missing_ok=True)
    here = executor.local_path(path)
    if here is None:
        _download(executor, path, size, part)
        return
    try:
        _link_or_copy(here, part)
    except FileNotFoundError as error:
        if part.parent.is_dir():
            raise NoSuchFile(f"{executor.name}: {path} is not there") from error
        raise


def _link_or_copy(source: Path, part: Path) -> None:
    try:
        if source.lstat().st_nlink > 1 or source.is_symlink():  # somebody else's file too: it stays apart from ours
            raise OSError(errno.EMLINK, "has another name")
        os.link(source, part)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copyfile(source, part)


NO_LINK = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What `link` says across file systems, and on those that have no links."""


def _download(executor: Executor, path: str, size: int, part: Path) -> None:
    spans, turn, enough = _spans(size, FETCH_BYTES), Lock(), Event()

    def bring(descriptor: int) -> None:
        try:
            while not enough.is_set():
                with turn:
                    span = next(spans, None)
                if span is None:
                    return
                data = policy.transfer(partial(executor.get, path, span))
                _write(descriptor, data, span.offset)
                if len(data) < span.length:  # shorter than it said: no use to ask for the rest
                    return
        finally:
            enough.set()  # one that failed must not wait for the others to bring the rest

    with part.open("xb") as file, _streams(executor) as streams:
        try:
            list(streams.map(bring, [file.fileno()] * executor.streams))
        finally:
            enough.set()  # nor must one that is interrupted


def _write(descriptor: int, data: bytes, offset: int) -> None:
    # A disk that fills up takes what still fits; only the next write says why.
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _umask() -> int:
    with UMASK:  # it can only be read by setting it, for the whole process
        umask = os.umask(0)
        os.umask(umask)
        return umask


def make_durable(part: Path) -> None:
    """Make a file that was just written survive a power cut, as one of the user's own."""
    part.chmod(0o666 & ~_umask())  # the job directory is private; the user's own file is not
    sync(part)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fetch_text(executor: Executor, path: str, most: int = PART_BYTES) -> str:
    """Read a small text file of the target, as much as `most` bytes of it."""
    return executor.get(path, Span(0, most)).decode("utf-8", "replace")


def file_sha256(path: Path) -> str:
    """Hash a local file's content, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
