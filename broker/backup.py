"""Backups: of each open job, a file of its own that says what was asked for, in case the journal is lost.

What the target knows of a job is not enough to finish it: where the outputs go stays here, and is never asked of a
target. What runs there is found by the job's name.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Self

from broker.job import FileId, Input, Job, Request

SHARED = tuple(field.name for field in fields(Request) if field.name != "inputs")
"""What a request and its job have in common."""


@dataclass(frozen=True)
class Backup:
    """A job as it was submitted; `inputs` are identity and sha256 of each."""

    request: Request
    key: str
    inputs: tuple[tuple[FileId, str], ...]
    limits: Mapping[str, float]

    @classmethod
    def of(cls, job: Job, key: str) -> Self:
        """The backup of a job that is in the journal, under its resume key."""
        entries = [
            Input(item.source, {output.name: output.dest for output in item.outputs}, item.options)
            for item in job.items
        ]
        about = {name: getattr(job, name) for name in SHARED}
        inputs = tuple((item.file_id, item.sha256) for item in job.items)
        return cls(Request(inputs=tuple(entries), **about), key, inputs, job.limits)


class Backups:
    """The backups in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, job: str, backup: Backup) -> None:
        """Store a job's backup, if there is room: the journal has the job, and only a damaged one would miss this."""
        path = self._path(job)
        draft = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        try:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                draft.write_text(json.dumps(asdict(backup), default=os.fspath))
                draft.replace(path)
        except OSError:
            with suppress(OSError):  # as above
                draft.unlink(missing_ok=True)

    def drop(self, job: str) -> None:
        """Delete the backup of a job that is over."""
        with suppress(OSError):  # on a disk that refuses even this; it would be restored as a job that is done
            self._path(job).unlink(missing_ok=True)

    def of_lost(self, known: Callable[[Iterable[str]], Set[str]]) -> Iterator[tuple[str, Backup]]:
        """Jobs that are not among those `known`, and their backups."""
        saved = self._saved()
        for job in sorted(saved - known(saved)) if saved else ():
            with suppress(OSError, ValueError):  # damaged like the journal: there is nothing to restore from it
                yield job, _adapter().validate_python(json.loads(self._path(job).read_text()))

    def _saved(self) -> set[str]:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - of ten thousand, as every command does it
        except OSError:
            return set()
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def _path(self, job: str) -> Path:
        return self._folder / f"{job}.json"


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Backup)
