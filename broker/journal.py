"""The journal: the SQLite file that remembers jobs, attempts, publications and hashes.

Every method is one short transaction, durable when it returns. Several processes may use one journal.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from broker.database import Database, Row
from broker.errors import OffloadError, UsageError
from broker.health import Health
from broker.job import NEXT, Attempt, FileId, Input, Item, Job, Output, Request, State

LOG_CHARS = 256 * 1024


class Journal:
    """An open journal. Raises ConfigError when the file cannot be used, LimitError when its disk is full."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path)
        self.health = Health(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Jobs

    def submit(self, request: Request, key: str, inputs: list[tuple[FileId, str]], limits: Mapping[str, float]) -> Job:
        """Record a new job; `inputs` are identity and sha256 of each input, in order."""
        job = secrets.token_hex(6)
        with self._db.write():
            self._insert(
                "jobs",
                id=job,
                service=request.service,
                script=str(request.script),
                params=json.dumps(dict(request.params)),
                limits=json.dumps(dict(limits)),
                target=request.on,
                fallback=int(request.fallback),
                overwrite=int(request.overwrite),
                keep=int(request.keep),
                extras=json.dumps(request.extras),
                command=json.dumps(request.command),
                key=key,
                state=State.QUEUED,
                created=time.time(),
            )
            for index, (entry, (file_id, sha256)) in enumerate(zip(request.inputs, inputs, strict=True)):
                self._insert_item(job, index, entry, file_id, sha256)
        return self.job(job)

    def _insert_item(self, job: str, index: int, entry: Input, file_id: FileId, sha256: str) -> None:
        self._insert(
            "items",
            job=job,
            idx=index,
            source=os.fsencode(entry.source),
            size=file_id.size,
            mtime_ns=file_id.mtime_ns,
            inode=file_id.inode,
            sha256=sha256,
            options=json.dumps(dict(entry.options)),
        )
        for number, (name, dest) in enumerate(entry.outputs.items()):
            self._insert("outputs", job=job, idx=index, number=number, name=name, dest=os.fsencode(dest))

    def _insert(self, table: str, **values: object) -> int:
        # Table and columns are this module's own words, never data.
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608
        return self._db.execute(statement, tuple(values.values()))

    def job(self, job: str) -> Job:
        """Read a job. Raises UsageError when there is none of that id."""
        return self._job(self._row(job))

    def _row(self, job: str) -> Row:
        row = self._db.row("SELECT * FROM jobs WHERE id = ?", (job,))
        if row is None:
            raise UsageError(f"no job {job}", "offload jobs ls")
        return row

    def jobs(self, limit: int = 50) -> list[Job]:
        """The latest jobs, newest first."""
        rows = self._db.rows("SELECT * FROM jobs ORDER BY created DESC LIMIT ?", (limit,))
        return [self._job(row) for row in rows]

    def with_prefix(self, prefix: str) -> list[str]:
        """Ids of the jobs that start with `prefix`."""
        rows = self._db.rows("SELECT id FROM jobs WHERE substr(id, 1, ?) = ?", (len(prefix), prefix))
        return [row["id"] for row in rows]

    def unfinished(self, key: str) -> Job | None:
        """The latest job with this resume key that is not over."""
        row = self._db.row(
            "SELECT * FROM jobs WHERE key = ? AND state IN (?, ?) ORDER BY created DESC",
            (key, State.QUEUED, State.RUNNING),
        )
        return self._job(row) if row else None

    def advance(self, job: str, state: State, error: str = "") -> None:
        """Move a job to `state`. Raises OffloadError when that is no step it can take."""
        with self._db.write():
            row = self._row(job)
            if state not in NEXT[State(row["state"])]:
                raise OffloadError(f"job {job} is {row['state']} and cannot become {state}")
            ended = time.time() if state.over else None
            self._db.execute("UPDATE jobs SET state = ?, ended = ?, error = ? WHERE id = ?", (state, ended, error, job))

    def forget(self, job: str) -> None:
        """Delete a job and all that is known of it."""
        with self._db.write():
            self._db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def times(self, job: str) -> tuple[float, float | None, str]:
        """When a job was created and ended, and the error it ended with."""
        row = self._row(job)
        return row["created"], row["ended"], row["error"] or ""

    # Attempts

    def begin_attempt(self, job: str, target: str, reason: str) -> Attempt:
        """Record an attempt and make it the only one that may publish."""
        with self._db.write():
            count = self._db.rows("SELECT COUNT(*) FROM attempts WHERE job = ?", (job,))[0][0]
            made = self._insert(
                "attempts", job=job, number=count + 1, target=target, reason=reason, started=time.time()
            )
            self._db.execute("UPDATE jobs SET attempt = ? WHERE id = ?", (made, job))
        return self.attempts(job)[-1]

    def end_attempt(self, attempt: Attempt, state: str, error: str, timings: Mapping[str, float]) -> None:
        """Record how an attempt ended: done, failed, lost or cancelled. What was said first counts."""
        with self._db.write():
            self._db.execute(
                "UPDATE attempts SET state = ?, ended = ?, error = ?, timings = ? WHERE id = ? AND state = 'running'",
                (state, time.time(), error, json.dumps(dict(timings)), attempt.id),
            )

    def note_versions(self, attempt: Attempt, versions: Mapping[str, Any]) -> None:
        """Remember the versions an attempt ran with, beside those told before."""
        with self._db.write():
            row = self._db.row("SELECT versions FROM attempts WHERE id = ?", (attempt.id,))
            known = {**json.loads(row["versions"] if row else "{}"), **versions}
            self._db.execute("UPDATE attempts SET versions = ? WHERE id = ?", (json.dumps(known), attempt.id))

    def attempts(self, job: str) -> list[Attempt]:
        """Attempts of a job, first to last."""
        rows = self._db.rows("SELECT * FROM attempts WHERE job = ? ORDER BY number", (job,))
        return [_attempt(row) for row in rows]

    def keep_log(self, attempt: Attempt, text: str) -> None:
        """Keep what a script said on stderr; only the end of a long one."""
        with self._db.write():
            self._db.execute("INSERT OR REPLACE INTO logs VALUES (?, ?)", (attempt.id, text[-LOG_CHARS:]))

    def log(self, attempt: Attempt) -> str | None:
        """What a script said on stderr, once its attempt is over."""
        row = self._db.row("SELECT text FROM logs WHERE attempt = ?", (attempt.id,))
        return str(row["text"]) if row else None

    # Items

    def note_progress(self, job: str, index: int, fraction: float) -> None:
        """Remember how far an item is, 0 to 1."""
        with self._db.write():
            self._db.execute("UPDATE items SET progress = ? WHERE job = ? AND idx = ?", (fraction, job, index))

    def progress(self, job: str) -> float:
        """How far a job is, 0 to 1, over its items."""
        return float(self._db.rows("SELECT AVG(progress) FROM items WHERE job = ?", (job,))[0][0] or 0.0)

    def fail_item(self, attempt: Attempt, index: int, kind: str, error: str) -> None:
        """Record that an item failed for a reason of its own."""
        with self._db.write():
            self._db.execute(
                "UPDATE items SET kind = ?, error = ? WHERE job = ? AND idx = ? AND ? IN"
                " (SELECT attempt FROM jobs WHERE id = job)",
                (kind, error, attempt.job, index, attempt.id),
            )

    def intend(
        self, attempt: Attempt, index: int, files: Mapping[str, tuple[int, str]], measured: Mapping[str, Any]
    ) -> bool:
        """Record that an item's outputs (name -> size, sha256) are about to be published.

        Returns False, and records nothing, when a later attempt has taken the job over.
        """
        with self._db.write():
            current = self._db.row("SELECT attempt FROM jobs WHERE id = ?", (attempt.job,))
            if current is None or current["attempt"] != attempt.id:
                return False
            for name, (size, sha256) in files.items():
                self._db.execute(
                    "UPDATE outputs SET state = 'intent', size = ?, sha256 = ?, attempt = ?"
                    " WHERE job = ? AND idx = ? AND name = ? AND state != 'published'",
                    (size, sha256, attempt.number, attempt.job, index, name),
                )
            self._db.execute(
                "UPDATE items SET measured = ?, progress = 1 WHERE job = ? AND idx = ?",
                (json.dumps(dict(measured)), attempt.job, index),
            )
        return True

    def published(self, job: str, index: int, name: str, dest: Path) -> None:
        """Record that an output is at `dest` for good."""
        with self._db.write():
            self._db.execute(
                "UPDATE outputs SET state = 'published', dest = ? WHERE job = ? AND idx = ? AND name = ?",
                (os.fsencode(dest), job, index, name),
            )

    # Hashes

    def known_hash(self, path: Path, file_id: FileId) -> str | None:
        """The sha256 of a file that has not changed since it was hashed."""
        row = self._db.row(
            "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?",
            (os.fsencode(path), file_id.size, file_id.mtime_ns, file_id.inode),
        )
        return str(row["sha256"]) if row else None

    def remember_hash(self, path: Path, file_id: FileId, sha256: str) -> None:
        """Remember a file's sha256."""
        with self._db.write():
            self._db.execute(
                "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)",
                (os.fsencode(path), file_id.size, file_id.mtime_ns, file_id.inode, sha256),
            )

    # Rows to values

    def _job(self, row: Row) -> Job:
        items = self._db.rows("SELECT * FROM items WHERE job = ? ORDER BY idx", (row["id"],))
        return Job(
            id=row["id"],
            service=row["service"],
            script=Path(row["script"]),
            params=json.loads(row["params"]),
            limits=json.loads(row["limits"]),
            on=row["target"],
            fallback=bool(row["fallback"]),
            overwrite=bool(row["overwrite"]),
            keep=bool(row["keep"]),
            extras=tuple(json.loads(row["extras"])),
            command=tuple(json.loads(row["command"])),
            state=State(row["state"]),
            created=row["created"],
            items=tuple(self._item(item) for item in items),
        )

    def _item(self, row: Row) -> Item:
        outputs = self._db.rows(
            "SELECT * FROM outputs WHERE job = ? AND idx = ? ORDER BY number", (row["job"], row["idx"])
        )
        return Item(
            index=row["idx"],
            source=Path(os.fsdecode(row["source"])),
            file_id=FileId(row["size"], row["mtime_ns"], row["inode"]),
            sha256=row["sha256"],
            options=json.loads(row["options"]),
            outputs=tuple(_output(output) for output in outputs),
            kind=row["kind"],
            error=row["error"],
            measured=json.loads(row["measured"]),
        )


def _output(row: Row) -> Output:
    dest = Path(os.fsdecode(row["dest"]))
    return Output(row["name"], dest, row["size"], row["sha256"], row["state"], row["attempt"])


def _attempt(row: Row) -> Attempt:
    values = dict(row)
    values["versions"], values["timings"] = json.loads(row["versions"]), json.loads(row["timings"])
    return Attempt(**values)
