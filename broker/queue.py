"""The queue, as the journal has it: which jobs wait, and in which order they are served.

The highest priority goes first. Among equals the sessions (a shell, say) take turns, so five thousand jobs of one do
not keep another's only job waiting; within a session they go in the order in which they were submitted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from broker.database import Database, Row
from broker.job import Job

WAITING = """
    WITH turns AS (
        SELECT jobs.session AS session, MAX(latest.id) AS served
        FROM (SELECT id, job FROM attempts ORDER BY id DESC LIMIT 200) AS latest JOIN jobs ON jobs.id = latest.job
        GROUP BY jobs.session
    )
    SELECT jobs.id FROM waiting JOIN jobs ON jobs.id = waiting.job LEFT JOIN turns ON turns.session = jobs.session
    WHERE waiting.target = ? AND jobs.state IN ('queued', 'running')
    ORDER BY jobs.priority DESC, COALESCE(turns.served, 0), jobs.rowid
"""
"""Sessions take turns by the latest two hundred attempts: one that has none of them has waited longest."""

BEGUN = """
    SELECT DISTINCT attempts.job FROM attempts JOIN jobs ON jobs.id = attempts.job
    WHERE attempts.state = 'running' AND jobs.detached = 1 AND jobs.state IN ('queued', 'running')
    ORDER BY jobs.rowid
"""

HAS = """
    SELECT 1 FROM jobs WHERE id = ? AND state = 'queued' AND detached = 1
    AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.job = jobs.id AND attempts.state = 'running')
"""

HEADS = """
    WITH turns AS (
        SELECT jobs.session AS session, MAX(latest.id) AS served
        FROM (SELECT id, job FROM attempts ORDER BY id DESC LIMIT 200) AS latest JOIN jobs ON jobs.id = latest.job
        GROUP BY jobs.session
    ), crew AS (
        SELECT session, COUNT(*) AS count FROM jobs WHERE id IN (SELECT value FROM json_each(:driven)) GROUP BY session
    ), open AS (
        SELECT rowid AS job, target, waits, offline, priority, session, deadline,
            waits != '' AND deadline IS NOT NULL AND deadline <= :now AS late
        FROM jobs
        WHERE state IN ('queued', 'running') AND detached = 1 AND id NOT IN (SELECT value FROM json_each(:busy))
    ), heads AS (
        {heads}
    )
    SELECT jobs.id, jobs.target, jobs.waits, jobs.offline, jobs.priority, jobs.session, heads.soonest, heads.late,
        CASE WHEN heads.place < :depth THEN 1 ELSE heads.count - :depth + 1 END AS count
    FROM heads JOIN jobs ON jobs.rowid = heads.job AND heads.place <= :depth
    LEFT JOIN turns ON turns.session = heads.session LEFT JOIN crew ON crew.session = heads.session
    ORDER BY jobs.priority DESC, COALESCE(crew.count, 0), COALESCE(turns.served, 0), jobs.rowid
"""

FIRST = """
        SELECT MIN(job) AS job, session, late, 1 AS place, COUNT(*) AS count, MIN(deadline) AS soonest
        FROM open GROUP BY target, waits, late, offline, priority, session
"""
SEVERAL = """
        SELECT job, session, late, ROW_NUMBER() OVER (kind ORDER BY job) AS place,
            COUNT(*) OVER kind AS count, MIN(deadline) OVER kind AS soonest
        FROM open WINDOW kind AS (PARTITION BY target, waits, late, offline, priority, session)
"""
"""It takes four times as long as FIRST, so it is for where there are rules."""

CREW = """
    SELECT COUNT(*) AS count, COUNT(
        CASE WHEN error LIKE 'waiting for job %' OR (error != '' AND error NOT LIKE 'waiting for %') THEN 1 END
    ) AS stuck
    FROM jobs
    WHERE id IN (SELECT value FROM json_each(:driven)) AND state IN ('queued', 'running') AND detached = 1
        AND target = :on AND waits = :waits
"""

AHEAD = """
    SELECT jobs.id FROM jobs JOIN jobs AS mine ON mine.id = :job
    WHERE jobs.state IN ('queued', 'running') AND jobs.detached = 1 AND jobs.target = mine.target
        AND jobs.waits = mine.waits AND jobs.priority > mine.priority
        AND jobs.id NOT IN (SELECT value FROM json_each(:driven))
    ORDER BY jobs.priority DESC, jobs.rowid LIMIT :depth
"""


@dataclass(frozen=True)
class Head:
    """The first of `count` jobs of a session that nobody drives, and that may run in the same places but for rules.

    `deadline` is when the first of those that wait for another machine may run here; `late` ones may now.
    """

    id: str
    on: str
    waits: str
    late: bool
    offline: bool
    priority: int
    count: int
    deadline: float | None
    session: str = ""

    @classmethod
    def of(cls, job: Job) -> Head:
        """A job that nobody drives, alone."""
        late = bool(job.waits) and job.deadline is not None and job.deadline <= time.time()
        return cls(job.id, job.on, job.waits, late, job.offline, job.priority, 1, job.deadline)

    @property
    def kind(self) -> tuple[object, ...]:
        """What it has in common with those behind it."""
        return self.session, self.on, self.waits, self.late, self.offline, self.priority


class Queue:
    """The queue of a journal. `depth` is how many jobs of a session and kind are told apart: where there are rules,
    the first may have no place, and the next one may.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self.depth = 1

    # Who waits for a slot

    def enter(self, job: str, target: str) -> None:
        """A job's driver waits for a slot on a target."""
        with self._db.write_lightly():
            self._db.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?)", (target, job))

    def leave(self, job: str, target: str) -> None:
        """It does not any more."""
        with self._db.write_lightly():
            self._db.execute("DELETE FROM waiting WHERE target = ? AND job = ?", (target, job))

    def waiting(self, target: str) -> list[str]:
        """Jobs that wait for a slot on a target, in their order. Some of their drivers may be dead."""
        if not self._db.row("SELECT 1 FROM waiting WHERE target = ?", (target,)):
            return []
        return [row["id"] for row in self._db.rows(WAITING, (target,))]

    # Whom nobody drives

    def begun(self) -> list[str]:
        """Detached jobs of which an attempt is under way."""
        return [row["job"] for row in self._db.rows(BEGUN)]

    def has(self, job: str) -> bool:
        """Whether a job waits in the background, and has not begun."""
        return self._db.row(HAS, (job,)) is not None

    def heads(
        self, driven: Collection[str], but: str = "", now: float | None = None, depth: int | None = None
    ) -> list[Head]:
        """The jobs that are next, in their order: `depth` of each session and kind, none that is `driven` or begun.

        Nor the one that is named by `but`.
        """
        depth = depth or self.depth
        query = HEADS.format(heads=SEVERAL if depth > 1 else FIRST)
        about = {
            "driven": json.dumps([*driven]),
            "busy": json.dumps([*driven, *self.begun(), but]),
            "now": time.time() if now is None else now,
            "depth": depth,
        }
        return [_head(row) for row in self._db.rows(query, about)]

    def crew(self, head: Head, driven: Collection[str]) -> tuple[int, int]:
        """How many `driven` jobs may run in the same places, and how many of them wait for more than a slot."""
        (row,) = self._db.rows(CREW, {"driven": json.dumps([*driven]), "on": head.on, "waits": head.waits})
        return row["count"], row["stuck"]

    def ahead(self, job: str, driven: Collection[str]) -> list[str]:
        """Jobs that nobody drives, that have a higher priority than this one, and may run in the same places."""
        about = {"job": job, "driven": json.dumps([*driven]), "depth": self.depth}
        return [row["id"] for row in self._db.rows(AHEAD, about)]

    def change(self, job: str, waits: str, deadline: float | None, priority: int) -> None:
        """Say anew when a job is to run."""
        with self._db.write():
            values = (waits, deadline, priority, job)
            self._db.execute("UPDATE jobs SET waits = ?, deadline = ?, priority = ? WHERE id = ?", values)

    def version(self) -> int:
        """Another number after each time that another process wrote to the journal."""
        return int(self._db.rows("PRAGMA data_version")[0][0])


def soonest(heads: Sequence[Head]) -> float | None:
    """The next deadline among jobs that wait."""
    return min((head.deadline for head in heads if head.deadline is not None and not head.late), default=None)


def _head(row: Row) -> Head:
    return Head(
        id=row["id"],
        on=row["target"],
        waits=row["waits"],
        late=bool(row["late"]),
        offline=bool(row["offline"]),
        priority=row["priority"],
        count=row["count"],
        deadline=row["soonest"],
        session=row["session"],
    )
