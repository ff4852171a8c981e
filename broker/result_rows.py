"""What the journal knows of results that are kept: under which key, which files, made where and when, used last."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from broker.database import Database, Row

USED_SECONDS = 60.0
"""How exactly it is known when a result was used: to write it down takes longer than to find it."""


@dataclass(frozen=True)
class Origin:
    """Where a result comes from: the job and the target that made it, with which versions, and when (epoch seconds)."""

    job: str
    target: str
    versions: Mapping[str, Any]
    at: float


@dataclass(frozen=True)
class Result:
    """The outputs of one item, as they are kept: `files` maps each name to size and sha256."""

    key: str
    service: str
    kind: str
    files: Mapping[str, tuple[int, str]]
    measured: Mapping[str, Any]
    origin: Origin
    used: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(size for size, _ in self.files.values())


class ResultRows:
    """The results in a journal. They outlive the jobs that made them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One process at a time: who changes which files there are, and what is known of them, does both in here."""
        with self._db.write_lightly():
            yield

    def find(self, key: str) -> Result | None:
        """The result of this key."""
        rows = self._db.rows("SELECT * FROM results WHERE key = ? ORDER BY name", (key,))
        return _result(rows) if rows else None

    def any(self, service: str) -> bool:
        """Whether there is any result of a service."""
        return self._db.row("SELECT 1 FROM results WHERE service = ? LIMIT 1", (service,)) is not None

    def all(self) -> list[Result]:
        """Every result, the one used last first."""
        rows = self._db.rows("SELECT * FROM results ORDER BY used DESC, key, name")
        return [_result(list(group)) for _, group in groupby(rows, key=lambda row: str(row["key"]))]

    def bytes(self) -> int:
        """How much room the files take: each counts once, however many results it is part of."""
        rows = self._db.rows("SELECT COALESCE(SUM(size), 0) FROM (SELECT DISTINCT sha256, size FROM results)")
        return int(rows[0][0])

    def kinds(self, service: str, target: str) -> list[str]:
        """The kinds of machine that a target was for a service, the latest first."""
        rows = self._db.rows(
            "SELECT kind FROM results WHERE service = ? AND target = ? GROUP BY kind ORDER BY MAX(made) DESC",
            (service, target),
        )
        return [str(row["kind"]) for row in rows]

    def put(self, result: Result) -> None:
        """Note a result, in place of one of the same key. Inside a `turn`."""
        self.forget([result.key])
        for name, (size, sha256) in result.files.items():
            self._insert(result, name, size, sha256)

    def _insert(self, result: Result, name: str, size: int, sha256: str) -> None:
        self._db.insert(
            "results",
            key=result.key,
            name=name,
            size=size,
            sha256=sha256,
            service=result.service,
            kind=result.kind,
            target=result.origin.target,
            made=result.origin.at,
            measured=json.dumps(dict(result.measured)),
            origin=json.dumps(asdict(result.origin)),
            used=self._now(),
        )

    def use(self, result: Result) -> None:
        """Note that a result was of use just now."""
        if (now := self._now()) - result.used < USED_SECONDS:
            return
        with self._db.write_lightly():
            self._db.execute("UPDATE results SET used = ? WHERE key = ?", (now, result.key))

    def _now(self) -> float:
        """A time that no use is later than: a clock that was set back makes nothing older than what was used before."""
        latest = self._db.rows("SELECT MAX(used) FROM results")[0][0]
        return max(time.time(), latest or 0.0)

    def forget(self, keys: Iterable[str]) -> None:
        """Forget results. Inside a `turn`."""
        for key in keys:
            self._db.execute("DELETE FROM results WHERE key = ?", (key,))

    def named(self) -> set[str]:
        """The files that some result needs, by sha256."""
        return {row["sha256"] for row in self._db.rows("SELECT DISTINCT sha256 FROM results")}


def _result(rows: list[Row]) -> Result:
    first = rows[0]
    return Result(
        key=first["key"],
        service=first["service"],
        kind=first["kind"],
        files={row["name"]: (row["size"], row["sha256"]) for row in rows},
        measured=json.loads(first["measured"]),
        origin=Origin(**json.loads(first["origin"])),
        used=first["used"],
    )
