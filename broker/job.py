"""A job's values and its states. Pure: no file, no process, no clock."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

ID_CHARS = 12
"""Length of a job's id. What follows it in an attempt's name on a target is the attempt's number."""


class State(StrEnum):
    """States of a job. PARTLY: over, with some items failed."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARTLY = "partly"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether the job has come to its end: only a person asking for it again can change that."""
        return self in (State.DONE, State.PARTLY, State.FAILED, State.CANCELLED)


NEXT = {
    State.QUEUED: {State.RUNNING, State.CANCELLED},
    State.RUNNING: {State.DONE, State.PARTLY, State.FAILED, State.CANCELLED},
    State.DONE: set[State](),
    State.PARTLY: {State.QUEUED},
    State.FAILED: {State.QUEUED},
    State.CANCELLED: {State.QUEUED},
}
"""What each state may become. A target lost in the middle leaves the job RUNNING: the next attempt takes over.
What did not all succeed may be queued again, for what is missing."""


@dataclass(frozen=True)
class FileId:
    """A file as it was when we looked: enough to notice that it became another.

    `ctime_ns` is the one that nobody can set: it changes with the content, and with links, mode and name. 0: not known.
    """

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0

    @classmethod
    def of(cls, path: Path) -> FileId:
        """Look at `path`. Raises OSError."""
        return cls.told(path.stat())

    @classmethod
    def told(cls, found: os.stat_result) -> FileId:
        """What `stat` told of a file."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)

    def is_like(self, other: FileId) -> bool:
        """Whether it may be the same: only its content tells, where `ctime_ns` differs."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)


@dataclass(frozen=True)
class Input:
    """One input as a service asks for it: the file, where its outputs go, and its own settings.

    `outputs` maps the fixed name the script writes to the path the user gets.
    """

    source: Path
    outputs: Mapping[str, Path]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preparation:
    """The script that makes of each input, here, the smallest that the job needs, and what it is told."""

    script: Path
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A job as asked for. `extras` names optional dependency sets of the script; `command` was typed in `folder`.

    `models` are those it needs, as role -> source (see `broker.models`), and `digests` what those are now, as
    role -> sha256. One that is `offline` asks nobody, whoever drives it.

    `contract` says how equal its outputs are wherever it runs: "bytes", or "close" on machines of another kind. `unit`
    is what the `amount` of an item counts. With `cache`, what was made before need not be made again; what is made is
    there for others to be had, unless it is none that `keeps_results`. With `spread`, several targets share the items.
    `waits` is "remote" when it is to wait for another machine than this one, until `deadline` (seconds since the
    epoch). The queue takes the highest `priority` first, and `session`s in turn.
    """

    service: str
    script: Path
    params: Mapping[str, Any]
    inputs: tuple[Input, ...]
    on: str = "auto"
    fallback: bool = True
    overwrite: bool = False
    keep: bool = False
    extras: tuple[str, ...] = ()
    prepare: Preparation | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False
    command: tuple[str, ...] = ()
    folder: Path | None = None
    detached: bool = False
    contract: str = "bytes"
    unit: str = ""
    cache: bool = True
    keeps_results: bool = True
    spread: bool = False
    waits: str = ""
    deadline: float | None = None
    priority: int = 0
    session: str = ""


@dataclass(frozen=True)
class Output:
    """One file an item produces: its fixed name at the target, and where it is published.

    `state` is planned, intent (its content is known and on its way to `dest`) or published; `attempt` is the
    number of the attempt that made it, `term` the lease under which it was intended.
    """

    name: str
    dest: Path
    size: int | None = None
    sha256: str | None = None
    state: str = "planned"
    attempt: int | None = None
    term: int = 0

    @property
    def published(self) -> bool:
        """Whether it is at `dest` for good."""
        return self.state == "published"


@dataclass(frozen=True)
class Payload:
    """What was made of an input for the job to work on: a file in the cache, where it is kept by its content."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Item:
    """One input of a job in the journal. `kind` and `error` say why it failed; both None while it has not.

    `payload` is what its preparation made of it, once it has; `amount` how much work it is, in the job's unit.
    """

    index: int
    source: Path
    file_id: FileId
    sha256: str
    options: Mapping[str, Any]
    outputs: tuple[Output, ...]
    kind: str | None = None
    error: str | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    payload: Payload | None = None
    amount: float | None = None

    @property
    def done(self) -> bool:
        """Whether all its outputs are published."""
        return all(output.published for output in self.outputs)

    @property
    def open(self) -> bool:
        """Whether there is still something to do for it."""
        return not self.done and self.kind is None


@dataclass(frozen=True)
class Job:
    """A job in the journal. `detached`: seen through by a follower in the background."""

    id: str
    service: str
    script: Path
    params: Mapping[str, Any]
    limits: Mapping[str, float]
    on: str
    fallback: bool
    overwrite: bool
    keep: bool
    extras: tuple[str, ...]
    prepare: Preparation | None
    models: Mapping[str, str]
    digests: Mapping[str, str]
    offline: bool
    command: tuple[str, ...]
    folder: Path | None
    detached: bool
    contract: str
    unit: str
    cache: bool
    keeps_results: bool
    spread: bool
    waits: str
    deadline: float | None
    priority: int
    session: str
    state: State
    created: float
    items: tuple[Item, ...]

    @property
    def open_items(self) -> tuple[Item, ...]:
        """Items that still need an attempt."""
        return tuple(item for item in self.items if item.open)


class Remains(IntEnum):
    """What an attempt may have left on its target: nothing, something nobody wants, or what was to be kept."""

    NOTHING = 0
    ORPHAN = 1
    KEPT = 2


@dataclass(frozen=True)
class Attempt:
    """One try of a job on one target, where `remote` is its name and `remains` what may still be there.

    One that `prepares` makes of the inputs what the others work on. It is about all `items` that are open, or about
    some of them, by index, while other targets do the rest. `forecast` is what it was expected to take, in
    seconds by phase, None where nobody asked.
    """

    id: int
    job: str
    number: int
    target: str
    reason: str
    state: str
    started: float
    ended: float | None
    error: str | None
    versions: Mapping[str, Any]
    timings: Mapping[str, float]
    remains: Remains
    prepares: bool = False
    forecast: Mapping[str, float] | None = None
    items: tuple[int, ...] | None = None

    @property
    def remote(self) -> str:
        """Name of the job on the target: never the same for two attempts."""
        return f"{self.job}{'p' if self.prepares else ''}{self.number:02d}"


def verdict(items: tuple[Item, ...]) -> State:
    """State a job ends in once none of its items is open."""
    failed = sum(1 for item in items if item.kind is not None)
    if not failed:
        return State.DONE
    return State.FAILED if failed == len(items) else State.PARTLY


def resume_key(request: Request, sha256s: list[str], scripts: str) -> str:
    """Name under which the same request, typed again, finds its unfinished job.

    Made of what decides the outputs and where they go: input hashes, parameters, scripts, destinations and
    the explicitly chosen target.
    """
    parts = {
        "service": request.service,
        "params": dict(request.params),
        "models": [dict(request.models), dict(request.digests)],
        "inputs": [
            [sha256, dict(item.options), {name: str(dest) for name, dest in item.outputs.items()}]
            for sha256, item in zip(sha256s, request.inputs, strict=True)
        ],
        "scripts": scripts,
        "on": request.on,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
