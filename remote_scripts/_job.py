"""The contract between a script and whoever started it.

A script is started as `python <script>.py job.json` with the job directory as working directory.
It reads `job.json`:

    {"id": "...", "service": "stabilize", "params": {...}, "limits": {"pixels": 40000000, "seconds": 14400},
     "ease": 0, "offline": false, "models": ["model"],
     "items": [{"index": 0, "input": "in/0.mp4", "options": {"container": "mp4"}}]}

writes the outputs of each item under `out/<index>/`, and prints events to stdout, one JSON object a line:

    {"type": "progress", "index": 0, "fraction": 0.42, "speed": 3.1, "eta": 12.0}
    {"type": "log", "index": 0, "message": "..."}
    {"type": "checkpoint", "index": 0, "name": "...", "size": 1, "sha256": "..."}
    {"type": "item_done", "index": 0, "files": [{"name", "size", "sha256"}], "measured": {...}}
    {"type": "item_failed", "index": 0, "kind": "bad_input", "error": "one sentence"}
    {"type": "versions", "versions": {"ffmpeg": "..."}}

A checkpoint is a finished piece of an item, at `out/<index>/checkpoints/<name>`. Those that an earlier attempt
finished, on whatever machine, lie at `in/checkpoints/<index>/<name>`, and need not be done again.

The files of a model lie in `models/<role>/`, complete and checked before the script starts: a script downloads nothing.
`ease` counts the attempts that ended here for want of memory: each asks for a smaller batch, and then for no GPU.

It exits 0 when every item has been done or has failed for a reason of its own.
Anything else a library prints to stdout goes to stderr, which is the job's log.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKPOINT = re.compile("[a-z0-9][a-z0-9_-]{0,63}")
"""Names a checkpoint may have."""
NETWORK = frozenset(
    f"socket.{name}"
    for name in ("connect", "getaddrinfo", "gethostbyaddr", "gethostbyname", "getnameinfo", "sendmsg", "sendto")
)
"""What Python announces of a program that asks another machine."""


class ItemError(Exception):
    """One item cannot be done. `kind` decides the exit code; the message is one sentence for a person."""

    kind = "failed"


class BadInput(ItemError):
    """The input is unreadable, damaged, or not what the service takes."""

    kind = "bad_input"


class Missing(ItemError):
    """Something the job needs is not installed here. The message says how to install it."""

    kind = "missing"


class Offline(OSError):
    """The job was asked to run without the network, and something in it would not."""


class LimitExceeded(ItemError):
    """A limit (pixels, seconds, disk) would be exceeded."""

    kind = "limit"


@dataclass(frozen=True)
class Item:
    """One input of the job: where it lies, and where its outputs go.

    `checkpoints` are the pieces that an earlier attempt finished, by name: files to read, and to leave as they are.
    """

    index: int
    input: Path
    out: Path
    options: dict[str, Any]
    checkpoints: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What an item produced: files under its `out` directory, and figures for the receipt."""

    files: tuple[Path, ...]
    measured: dict[str, Any] = field(default_factory=dict)


class Job:
    """A job as read from `job.json`, and the only writer of its events."""

    def __init__(self, spec: dict[str, Any], stream: Any) -> None:
        self.params: dict[str, Any] = spec["params"]
        self.limits: dict[str, float] = spec.get("limits", {})
        self.models: Mapping[str, Path] = {role: Path("models") / role for role in spec.get("models", ())}
        self.ease: int = spec.get("ease", 0)
        self.items = tuple(_item(entry) for entry in spec["items"])
        self._stream = stream

    def emit(self, type_: str, **fields: Any) -> None:
        """Write one event; it is out of this process when the call returns."""
        self._stream.write(json.dumps({"type": type_, **fields}, separators=(",", ":")) + "\n")
        self._stream.flush()

    def progress(self, item: Item, fraction: float, speed: float = 0.0, eta: float = 0.0) -> None:
        """Report `fraction` (0-1) of an item done, its speed (x real time) and the seconds left."""
        self.emit("progress", index=item.index, fraction=round(fraction, 4), speed=round(speed, 3), eta=round(eta, 1))

    def log(self, item: Item, message: str) -> None:
        """Tell the person something about an item that is not an error."""
        self.emit("log", index=item.index, message=message)

    def checkpoint(self, item: Item, name: str, path: Path) -> Path:
        """Save a finished piece of an item: a later attempt finds it as `item.checkpoints[name]`.

        The file `path` is moved; returns where to. Names are of a-z, 0-9, `-` and `_`, at most 64 characters: raises
        ValueError for any other.
        """
        place = item.out / "checkpoints" / _checkpoint_name(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{name}.tmp")
        shutil.move(path, draft)
        _flush(draft)
        draft.replace(place)
        self.emit("checkpoint", index=item.index, **_file(place))
        return place


def run(do: Callable[[Job, Item], Result]) -> int:
    """Do every item of the job named on the command line; returns the exit status."""
    _stay_offline()
    with _events() as stream:
        job = Job(json.loads(Path(sys.argv[1]).read_text("utf-8")), stream)
        for item in job.items:
            _run_item(job, item, do)
    return 0


def _stay_offline() -> None:
    # A library that would ask a server all the same fails and is named, instead of making us wait for an answer.
    if os.environ.get("OFFLOAD_OFFLINE") == "1":
        sys.addaudithook(_refuse_network)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in NETWORK and not _stays_here(arguments[0]):
        where = next((word for word in arguments if isinstance(word, str | tuple)), "a server")
        raise Offline(f"this job is offline, and may not ask {where} ({event})")


def _stays_here(socket: Any) -> bool:
    return getattr(getattr(socket, "family", None), "name", "") == "AF_UNIX"


def _item(entry: dict[str, Any]) -> Item:
    index = int(entry["index"])
    return Item(index, Path(entry["input"]), Path("out") / str(index), entry.get("options", {}), _found(index))


def _found(index: int) -> dict[str, Path]:
    folder = Path("in/checkpoints") / str(index)
    # A link may point nowhere: in a job that was kept, and is run again by hand.
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file()} if folder.is_dir() else {}


def _checkpoint_name(name: str) -> str:
    if not CHECKPOINT.fullmatch(name):
        raise ValueError(f"not a checkpoint's name: {name!r}")
    return name


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _events() -> Any:
    # Libraries print to stdout when they please; events keep the descriptor to themselves.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _run_item(job: Job, item: Item, do: Callable[[Job, Item], Result]) -> None:
    try:
        item.out.mkdir(parents=True, exist_ok=True)
        result = do(job, item)
        job.emit("item_done", index=item.index, files=_files(result.files), measured=result.measured)
    except Exception as error:  # noqa: BLE001 - one bad item must not take the others with it
        traceback.print_exc()
        job.emit("item_failed", index=item.index, kind=_kind(error), error=_sentence(error))


def _kind(error: Exception) -> str:
    if isinstance(error, ItemError):
        return error.kind
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "limit"
    return "memory" if _wants_memory(error) else "failed"


def _wants_memory(error: Exception) -> bool:
    # torch's own error, by its name: most scripts do without torch.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _sentence(error: Exception) -> str:
    if isinstance(error, ItemError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full where the job runs"
    return f"{type(error).__name__}: {error}"


def _files(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [_file(path) for path in paths]


def _file(path: Path) -> dict[str, Any]:
    return {"name": path.name, "size": path.stat().st_size, "sha256": sha256(path)}


def sha256(path: Path) -> str:
    """Hash a file's content, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
