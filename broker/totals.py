"""How many jobs and attempts the journal remembers, and what they took: for whoever watches over a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from broker.database import Database


@dataclass(frozen=True)
class Spent:
    """Attempts at a service's jobs on a target that ended in a `state`: how many, and their seconds together."""

    service: str
    target: str
    state: str
    count: int
    seconds: float


class Totals:
    """Counts over all jobs that were not forgotten."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def jobs(self) -> dict[tuple[str, str], int]:
        """How many jobs there are, by service and state."""
        rows = self._db.rows("SELECT service, state, COUNT(*) AS count FROM jobs GROUP BY service, state")
        return {(row["service"], row["state"]): row["count"] for row in rows}

    def open_jobs(self) -> int:
        """How many jobs are not over."""
        return int(self._db.rows("SELECT COUNT(*) FROM jobs WHERE state IN ('queued', 'running')")[0][0])

    def attempts(self) -> Iterator[Spent]:
        """What attempts took that are over, by service, target and how they ended."""
        rows = self._db.rows(
            "SELECT service, attempts.target, attempts.state, COUNT(*), SUM(attempts.ended - started)"
            " FROM attempts JOIN jobs ON jobs.id = attempts.job WHERE attempts.ended IS NOT NULL"
            " GROUP BY service, attempts.target, attempts.state"
        )
        return (Spent(*row) for row in rows)
