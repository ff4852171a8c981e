"""The journal: the SQLite file that remembers jobs, attempts, publications and hashes.

Every method is one short transaction, durable when it returns, but for what a later one makes durable in time, or what
is learned anew. Several processes may use one journal. What a job's driver writes goes through its `ledger`, which
refuses one that has been overtaken.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from broker.backup import Backup
from broker.database import Database, Row
from broker.errors import NoJob
from broker.events import Progress
from broker.hashes import Hashes
from broker.health import Health
from broker.history import History
from broker.job import Attempt, FileId, Job, Remains, Request, State
from broker.ledger import Ledger
from broker.queue import Queue
from broker.reports import Checkpoint
from broker.result_rows import ResultRows
from broker.rows import LATEST, insert_job, read_attempt, read_job, read_jobs
from broker.totals import Totals

OPEN = (State.QUEUED, State.RUNNING)

Place = int
"""Of a job in the list of all: one made later has a greater one, whatever the clock says."""


@dataclass(frozen=True)
class Ending:
    """When a job was made and ended, in seconds since the epoch, the error it ended with, its hint and exit code."""

    created: float
    ended: float | None
    error: str
    hint: str
    exit_code: int | None


class Journal:
    """An open journal. `aside` is where a damaged one was put when this was opened, None otherwise.

    All that is read of it in `looking` is of one moment; nothing may be written meanwhile. What is too big for it, the
    checkpoints, lies beside it in `checkpoint_folder`.

    Raises ConfigError when the file cannot be used, LimitError when its disk is full.
    """

    def __init__(self, path: Path, mend: bool = True) -> None:
        self._db = Database(path, mend)
        self.looking = self._db.looking
        self.aside = self._db.aside
        self.hashes = Hashes(self._db)
        self.health = Health(self._db)
        self.history = History(self._db)
        self.results = ResultRows(self._db)
        self.queue = Queue(self._db)
        self.totals = Totals(self._db)
        self.checkpoint_folder = path.parent / "checkpoints"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def set_aside(self) -> list[Path]:
        """Damaged journals that were put aside here, ever, and that are still there."""
        return self._db.damaged()

    # Jobs

    def submit(
        self,
        request: Request,
        key: str,
        inputs: list[tuple[FileId, str]],
        limits: Mapping[str, float],
        seen: int | None = None,
    ) -> Job:
        """Record a new job, unless the same request is in the journal already: then that is the job.

        `inputs` are identity and sha256 of each input, in order. A job of the same `key` is the same request while it
        is not over, and also if it was made after the journal had come to `seen`, the place `place` told.
        """
        with self._db.write():
            job = self._same(key, seen) or insert_job(self._db, request, key, inputs, limits)
        return self.job(job)

    def place(self) -> Place:
        """How far the journal has come: jobs made later come after it."""
        return int(self._db.rows("SELECT COALESCE(MAX(rowid), 0) FROM jobs")[0][0])

    def _same(self, key: str, seen: int | None) -> str | None:
        row = self._db.row(
            "SELECT id FROM jobs WHERE key = ? AND (state IN (?, ?) OR rowid > ?) ORDER BY rowid DESC",
            (key, *OPEN, 2**62 if seen is None else seen),
        )
        return row["id"] if row else None

    def restore(self, job: str, backup: Backup) -> None:
        """Record a job again that a lost journal had: open, and perhaps running somewhere."""
        with self._db.write():
            if not self.with_prefix(job):
                insert_job(self._db, backup.request, backup.key, backup.inputs, backup.limits, job)
                self._db.execute("UPDATE jobs SET state = ? WHERE id = ?", (State.RUNNING, job))

    def job(self, job: str) -> Job:
        """Read a job. Raises NoJob when there is none of that id."""
        with self._db.looking():
            return read_job(self._db, self._row(job))

    def _row(self, job: str) -> Row:
        row = self._db.row("SELECT * FROM jobs WHERE id = ?", (job,))
        if row is None:
            raise NoJob(f"no job {job}", "offload jobs ls")
        return row

    def jobs(
        self, limit: int = 50, service: str | None = None, states: Collection[State] = (), before: Place | None = None
    ) -> list[Job]:
        """The latest jobs, newest first: of a service, in one of some states, and after a place, if these are given."""
        return [*self.placed(limit, service, states, before).values()]

    def placed(
        self, limit: int, service: str | None = None, states: Collection[State] = (), before: Place | None = None
    ) -> dict[Place, Job]:
        """The same, each with its place."""
        wanted = {"service": service, "states": json.dumps([*states]), "limit": limit, "before": before}
        with self.looking():
            return {row["place"]: read_job(self._db, row) for row in self._db.rows(LATEST, wanted)}

    def folders(self) -> set[Path]:
        """The folders that jobs were asked for in."""
        found = self._db.rows("SELECT DISTINCT folder FROM jobs WHERE folder IS NOT NULL")
        return {Path(os.fsdecode(row["folder"])) for row in found}

    def in_folder(self, folder: Path) -> Job | None:
        """The first job that was asked for in `folder`, None where none was."""
        statement = "SELECT * FROM jobs WHERE folder = ? ORDER BY rowid LIMIT 1"
        return next(iter(read_jobs(self._db, statement, (os.fsencode(folder),))), None)

    def with_prefix(self, prefix: str) -> list[str]:
        """Ids of the jobs that start with `prefix`."""
        found = self._db.rows("SELECT id FROM jobs WHERE id >= ? AND id < ?", (prefix, f"{prefix}\U0010ffff"))
        return [row["id"] for row in found]

    def knows(self, jobs: Iterable[str]) -> set[str]:
        """Which of these jobs are in the journal."""
        still = {row["id"] for row in self._db.rows("SELECT id FROM jobs WHERE state IN ('queued', 'running')")}
        return still | self._also_over(set(jobs) - still)

    def _also_over(self, jobs: set[str]) -> set[str]:
        found = "SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
        return {row["id"] for row in self._db.rows(found, (json.dumps([*jobs]),))}

    def is_open(self, job: str) -> bool:
        """Whether a job is in the journal, and not over."""
        row = self._db.row("SELECT state FROM jobs WHERE id = ?", (job,))
        return row is not None and row["state"] in OPEN

    def unfinished(self, key: str) -> Job | None:
        """The latest job with this resume key that is not over."""
        statement = "SELECT * FROM jobs WHERE key = ? AND state IN (?, ?) ORDER BY rowid DESC LIMIT 1"
        return next(iter(read_jobs(self._db, statement, (key, *OPEN))), None)

    def key(self, job: str) -> str:
        """The resume key of a job."""
        return str(self._row(job)["key"])

    def open_jobs(self) -> list[Job]:
        """Jobs that are not over, oldest first."""
        return read_jobs(self._db, "SELECT * FROM jobs WHERE state IN (?, ?) ORDER BY rowid", OPEN)

    def detach(self, job: str) -> None:
        """Leave an open job to a follower in the background from now on."""
        with self._db.write():
            self._db.execute("UPDATE jobs SET detached = 1 WHERE id = ?", (job,))

    def forget(self, job: str) -> None:
        """Delete a job and all that is known of it."""
        with self._db.write():
            self._db.execute("DELETE FROM jobs WHERE id = ?", (job,))
        shutil.rmtree(self.checkpoint_folder / job, ignore_errors=True)  # what resists is swept another day

    def ending(self, job: str) -> Ending:
        """How a job ended, as far as it has."""
        row = self._row(job)
        return Ending(row["created"], row["ended"], row["error"] or "", row["hint"], row["exit_code"])

    def progress(self, job: str) -> list[float]:
        """How far each item of a job is, 0 to 1."""
        rows = self._db.rows("SELECT progress FROM items WHERE job = ? ORDER BY idx", (job,))
        return [row["progress"] for row in rows]

    def paces(self, job: str) -> list[Progress]:
        """How far and how fast each item of a job is, as far as its script told."""
        rows = self._db.rows("SELECT idx, progress, speed, eta FROM items WHERE job = ? ORDER BY idx", (job,))
        return [Progress(*row) for row in rows]

    # Driving

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One process at a time, and none that dies in it keeps the others out: for taking a lease.

        After a power cut nobody has an old one, so a term need not be new.
        """
        with self._db.write_lightly():
            yield

    def ledger(self, job: str) -> Ledger:
        """Begin a new term of a job: from now on only this ledger may write of it. Inside a `turn`."""
        self._db.execute("UPDATE jobs SET term = term + 1 WHERE id = ?", (job,))
        return Ledger(self, self._db, job, self._row(job)["term"])

    def joined(self, ledger: Ledger) -> Ledger:
        """Another hand of the driver that holds `ledger`, for a thread of its own: this journal is that thread's."""
        return Ledger(self, self._db, ledger.id, ledger.term)

    def want(self, job: str, wanted: bool) -> None:
        """Ask for a job's end, or take that back. Its driver hears of it wherever it runs."""
        with self._db.write():
            self._db.execute("UPDATE jobs SET unwanted = ? WHERE id = ?", (int(not wanted), job))

    def wanted(self, job: str) -> bool:
        """Whether nobody has asked for the job's end. A journal that was begun anew knows of no such thing."""
        row = self._db.row("SELECT unwanted FROM jobs WHERE id = ?", (job,))
        return row is None or not row["unwanted"]

    # Attempts

    def attempts(self, job: str) -> list[Attempt]:
        """Attempts of a job, first to last."""
        rows = self._db.rows("SELECT * FROM attempts WHERE job = ? ORDER BY number", (job,))
        return [read_attempt(row) for row in rows]

    def orphans(self) -> list[Attempt]:
        """Attempts that were given up, of which something may still be on their targets."""
        rows = self._db.rows(
            "SELECT attempts.* FROM attempts JOIN jobs ON jobs.id = attempts.job WHERE remains = ?"
            " AND (attempts.state != 'running' OR jobs.state NOT IN (?, ?)) ORDER BY attempts.id",
            (Remains.ORPHAN, *OPEN),
        )
        return [read_attempt(row) for row in rows]

    def work_on(self, target: str, since: float = 0.0) -> list[str]:
        """Jobs of which something is wanted on a target: an attempt that runs there, or what was kept after `since`."""
        rows = self._db.rows(
            "SELECT DISTINCT jobs.id FROM attempts JOIN jobs ON jobs.id = attempts.job WHERE attempts.target = ?"
            " AND (remains = ? AND attempts.ended >= ? OR attempts.state = 'running' AND jobs.state IN (?, ?))",
            (target, Remains.KEPT, since, *OPEN),
        )
        return [row["id"] for row in rows]

    def machine_gone(self, target: str) -> None:
        """Record that nothing is left on a target: its machine is gone, with all that was on it."""
        left = "UPDATE attempts SET remains = ? WHERE target = ? AND state != 'running'"
        with self._db.write():
            self._db.execute(left, (Remains.NOTHING, target))
            self._db.execute("DELETE FROM sent WHERE target = ?", (target,))

    def cleaned(self, attempt: Attempt, remains: Remains = Remains.NOTHING) -> None:
        """Record that nothing of an attempt is on its target any more, or only what was to be kept."""
        with self._db.write_lightly():  # else it is cleaned again
            self._db.execute("UPDATE attempts SET remains = ? WHERE id = ?", (remains, attempt.id))

    def log(self, attempt: Attempt) -> str | None:
        """What a script said on stderr, once its attempt is over."""
        row = self._db.row("SELECT text FROM logs WHERE attempt = ?", (attempt.id,))
        return str(row["text"]) if row else None

    def checkpoints(self, job: str) -> dict[Checkpoint, int]:
        """Checkpoints of a job, also those of items that are done, and the number of the attempt that made each."""
        rows = self._db.rows("SELECT * FROM checkpoints WHERE job = ? ORDER BY idx, name", (job,))
        return {Checkpoint(row["idx"], row["name"], row["size"], row["sha256"]): row["attempt"] for row in rows}

    def weigh(self, job: str, amounts: Mapping[int, float]) -> None:
        """Remember how much work items of a job are, by index, in its unit."""
        with self._db.write_lightly():
            for index, amount in amounts.items():
                self._db.execute("UPDATE items SET amount = ? WHERE job = ? AND idx = ?", (amount, job, index))
