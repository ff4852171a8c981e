"""A machine whose runner works inside this process, so that its seams are ours: the real verbs, on real files."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

import remote_scripts
from executors.base import Completed, Lost
from executors.local import LocalExecutor
from tests import fakework
from tests.sweep.seams import Seams

VERBS = {"parts": "blobs", "assemble": "blobs", "gc": "blobs", "start": "jobs", "cancel": "jobs", "ack": "jobs"}


class InsideExecutor(LocalExecutor):
    """The machine. `seams` are those of the sweep."""

    seams: ClassVar[Seams]
    streams = 1

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, {**options, "root": urlsplit(options["url"]).path})

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        try:
            self.seams.strike("spawn", argv[-1])
        except OSError as error:
            raise Lost(f"{self.name}: cannot start {argv[0]}: {error.strerror}") from error
        page, reply = answer(argv[-1], self.root, json.loads(stdin))
        return Completed(0, page + json.dumps({"v": 1, **reply}).encode() + b"\n", b"")


def answer(verb: str, root: Path, request: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """What the runner says to a verb."""
    layout = module("layout")
    said = io.TextIOWrapper(io.BytesIO())
    try:
        with redirect_stdout(said):
            reply = getattr(module({"ls": "jobs"}.get(verb, VERBS.get(verb, verb))), verb)(root, dict(request))
    except Exception as error:  # noqa: BLE001 - as the runner itself does
        return b"", {"error": layout.describe(error)}
    return said.buffer.getvalue(), reply  # type: ignore[attr-defined]


def module(name: str) -> ModuleType:
    """A module of the runner's."""
    return importlib.import_module(f"_runner.{name}")


@contextmanager
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runner's modules, to be found by its own names; a started job is done at once, by somebody else."""
    folder = str(Path(remote_scripts.__path__[0]))
    sys.path.insert(0, folder)
    try:
        monkeypatch.setattr(module("jobs"), "_spawn", _work)
        yield
    finally:
        sys.path.remove(folder)


def _work(folder: Path, lock: int, extra: Mapping[str, str]) -> None:
    InsideExecutor.seams.strike("spawn", "supervisor")
    with InsideExecutor.seams.elsewhere():
        spec = json.loads((folder / "job.json").read_text())
        events = "".join(json.dumps(_done(folder, item)) + "\n" for item in spec["items"])
        (folder / "log.txt").write_text("nothing to say\n")
        (folder / "events.jsonl").write_text(events)
        module("layout").write_last_word(folder, {"exit": 0, "cancelled": False})


def made(data: bytes) -> dict[str, bytes]:
    """What the work makes of an input: of a few parts each."""
    return {"worked.bin": fakework.expected(data)[:170], "digest.txt": fakework.digest(data)}


def _done(folder: Path, item: Mapping[str, Any]) -> dict[str, Any]:
    out = folder / "out" / str(item["index"])
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, content in made((folder / item["input"]).read_bytes()).items():
        (out / name).write_bytes(content)
        files.append({"name": name, "size": len(content), "sha256": sha256(content).hexdigest()})
    return {"type": "item_done", "index": item["index"], "files": files, "measured": {}}
