"""What was measured of the targets, and what is known to lie on them: two tables of the journal.

The order in which observations were written counts, never their time: a clock that was set wrong, or back, changes
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from broker.database import Database
from broker.health import identity
from broker.targets import Target

KEPT_OF_A_KIND = 32
KEPT_OF_A_SERVICE = 256
"""Observations kept of a target, service and figure: with a half-life of three, those before weigh nothing."""
ASKED = 500
"""Blobs asked about in one query: SQLite takes so many values and more."""

COLD = "cold"
"""A start for which a machine was taken first."""


@dataclass(frozen=True)
class Observation:
    """Something that took `seconds` for an `amount`; of `out` and `payload`, that came to so many bytes.

    `what` is run, start, cold, prepare, out, payload, up or down. `kind` is what decides its speed, apart from the
    machine (see `broker.work`); the links' have none, and no service.
    """

    what: str
    amount: float
    seconds: float
    kind: str = ""
    service: str = ""


class History:
    """Both tables. `clock` tells the time in seconds since the epoch, to be shown to people and for nothing else."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = database
        self._clock = clock

    def observe(self, target: Target, found: Iterable[Observation]) -> None:
        """Remember what was measured of a target, and forget the oldest of its like."""
        with self._db.write_lightly():
            self.insert(target, found)

    def insert(self, target: Target, found: Iterable[Observation]) -> None:
        """As `observe`, inside a transaction that is open."""
        found = list(found)
        for one in found:
            about = {"service": one.service, "what": one.what}
            values = {"kind": one.kind, "amount": one.amount, "seconds": one.seconds, "at": self._clock()}
            self._db.insert("observations", target=target.name, identity=identity(target), **about, **values)
        for service, what, kind in {(one.service, one.what, one.kind) for one in found}:
            self._trim((target.name, service, what), KEPT_OF_A_SERVICE)
            self._trim((target.name, service, what, kind), KEPT_OF_A_KIND)

    def _trim(self, key: tuple[str, ...], most: int) -> None:
        alike = " AND ".join(f"{name} = ?" for name in ("target", "service", "what", "kind")[: len(key)])
        latest = f"SELECT id FROM observations WHERE {alike} ORDER BY id DESC LIMIT -1 OFFSET {most}"  # noqa: S608
        self._db.execute(f"DELETE FROM observations WHERE id IN ({latest})", key)  # noqa: S608

    def of(self, target: Target, service: str = "") -> list[Observation]:
        """What was measured of a target: of a service, or of its link. The latest comes first."""
        rows = self._db.rows(
            "SELECT what, amount, seconds, kind, service FROM observations"
            " WHERE target = ? AND service = ? AND identity = ? ORDER BY id DESC",
            (target.name, service, identity(target)),
        )
        return [Observation(*row) for row in rows]

    # What lies on targets

    def note_sent(self, target: Target, blobs: Sequence[str]) -> None:
        """Remember that blobs, by sha256, are on a target."""
        if blobs:
            values = [(target.name, identity(target), sha256, self._clock()) for sha256 in blobs]
            with self._db.write_lightly():
                for row in values:
                    self._db.execute("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?)", row)

    def sent(self, target: Target, blobs: Iterable[str], since: float = 0.0) -> set[str]:
        """Those of the blobs that are known to be on a target, brought there after `since` (epoch seconds)."""
        asked, found = list(blobs), set[str]()
        for start in range(0, len(asked), ASKED):
            some = asked[start : start + ASKED]
            marks = ", ".join("?" * len(some))
            statement = f"SELECT sha256 FROM sent WHERE target = ? AND identity = ? AND at >= ? AND sha256 IN ({marks})"  # noqa: S608
            found |= {row[0] for row in self._db.rows(statement, (target.name, identity(target), since, *some))}
        return found

    def any_sent(self) -> bool:
        """Whether anything is known to be on any target."""
        return self._db.row("SELECT 1 FROM sent LIMIT 1") is not None

    def sent_to(self, target: str) -> list[str]:
        """All blobs that are known to be on a target, by its name."""
        return [row[0] for row in self._db.rows("SELECT DISTINCT sha256 FROM sent WHERE target = ?", (target,))]

    def drop_sent(self, target: str, blobs: Sequence[str]) -> None:
        """Forget blobs that are not on a target any more."""
        if blobs:
            with self._db.write_lightly():
                for sha256 in blobs:
                    self._db.execute("DELETE FROM sent WHERE target = ? AND sha256 = ?", (target, sha256))

    def attempts(self) -> list[tuple[str, str, str, float]]:
        """Jobs that one attempt did, and that were forecast: service, target, forecast as JSON, seconds they took."""
        rows = self._db.rows(
            "SELECT jobs.service, attempts.target, forecast, attempts.ended - attempts.started FROM attempts"
            " JOIN jobs ON jobs.id = attempts.job WHERE prepares = 0 AND forecast != 'null' AND attempts.state = 'done'"
            " AND attempts.ended > attempts.started AND (SELECT COUNT(*) FROM attempts AS others"
            " WHERE others.job = attempts.job AND others.prepares = 0) = 1 ORDER BY attempts.id"
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]
