"""A job's page in the journal, as its driver writes it: every line under the term of its lease.

A lease can be lost without its holder noticing, since a process can be stopped at any point and go on an hour later.
So each write looks, in its own transaction, whether the term is still the latest (a fencing token): a driver that was
overtaken writes nothing, and publishes nothing, any more.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.database import Database
from broker.errors import OffloadError, Overtaken
from broker.history import Observation
from broker.job import NEXT, Attempt, Job, Payload, Remains, State
from broker.reports import Checkpoint
from broker.targets import Target

if TYPE_CHECKING:
    from broker.journal import Journal

LOG_CHARS = 256 * 1024


class Ledger:
    """What the driver of the job `id` may write. Every method that writes raises Overtaken once another drives it."""

    def __init__(self, journal: Journal, database: Database, job: str, term: int) -> None:
        self.id = job
        self.term = term
        self.journal = journal
        self._db = database

    @property
    def job(self) -> Job:
        """The job as it is now."""
        return self.journal.job(self.id)

    @property
    def attempts(self) -> list[Attempt]:
        """Its attempts, first to last."""
        return self.journal.attempts(self.id)

    def check(self) -> None:
        """Raise Overtaken when another process drives the job now."""
        row = self._db.row("SELECT term FROM jobs WHERE id = ?", (self.id,))
        if row is None or row["term"] != self.term:
            raise Overtaken(f"another process has taken job {self.id} over", f"offload jobs attach {self.id}")

    @contextmanager
    def _write(self) -> Iterator[None]:
        with self._db.write():
            self.check()
            yield

    @contextmanager
    def _note(self) -> Iterator[None]:
        """For what a power cut may undo: the next `_write` makes it durable, too, and comes before it matters."""
        with self._db.write_lightly():
            self.check()
            yield

    def advance(self, state: State, error: str = "", exit_code: int = 0, hint: str = "") -> None:
        """Move the job to `state`. Raises OffloadError when that is no step it can take."""
        with self._write() if state.over else self._note():
            self._advance(state, error, exit_code, hint)

    def _advance(self, state: State, error: str = "", exit_code: int = 0, hint: str = "") -> None:
        now = self.job.state
        if state not in NEXT[now]:
            raise OffloadError(f"job {self.id} is {now} and cannot become {state}")
        ended, code = (time.time(), exit_code) if state.over else (None, None)
        self._db.execute(
            "UPDATE jobs SET state = ?, ended = ?, error = ?, exit_code = ?, hint = ? WHERE id = ?",
            (state, ended, error, code, hint, self.id),
        )

    def reopen(self) -> None:
        """Queue a job again that is over: what failed in it is open again. Raises OffloadError as `advance` does."""
        with self._write():
            self._advance(State.QUEUED)
            self._db.execute(
                "UPDATE items SET kind = NULL, error = NULL, progress = 0 WHERE job = ? AND kind IS NOT NULL",
                (self.id,),
            )
            self._db.execute("UPDATE jobs SET unwanted = 0 WHERE id = ?", (self.id,))

    def remark(self, waiting: str) -> None:
        """Remember what an open job waits for; empty when it waits no more."""
        with self._note():
            self._db.execute("UPDATE jobs SET error = ? WHERE id = ?", (waiting, self.id))

    # Attempts

    def begin_attempt(
        self,
        target: str,
        reason: str,
        prepares: bool = False,
        items: Sequence[int] | None = None,
        forecast: Mapping[str, float] | None = None,
    ) -> Attempt:
        """Record an attempt, or one that only `prepares` the inputs, or one at some `items`, and what it may take."""
        with self._note():
            number = max((attempt.number for attempt in self.attempts), default=0) + 1
            about = {"target": target, "reason": reason, "prepares": int(prepares), "started": time.time()}
            about |= {"items": json.dumps(items), "forecast": json.dumps(forecast and dict(forecast))}
            self._db.insert("attempts", job=self.id, number=number, **about)
            return next(attempt for attempt in self.attempts if attempt.number == number)

    def recalled(self, target: str, reason: str, versions: Mapping[str, Any]) -> Attempt:
        """Record an attempt that made nothing: what another made is to be published again."""
        with self._note():
            number = max((attempt.number for attempt in self.attempts), default=0) + 1
            now = time.time()
            about = {"target": target, "reason": reason, "state": "done", "started": now, "ended": now}
            made = self._db.insert("attempts", job=self.id, number=number, versions=json.dumps(dict(versions)), **about)
            self._db.insert("logs", attempt=made, text="")  # there is none to be asked for anywhere
        return self.attempts[-1]

    def recalled_in_vain(self, attempt: Attempt, error: str) -> None:
        """Record that there was nothing to publish again, after all."""
        with self._note():
            self._db.execute("UPDATE attempts SET state = 'lost', error = ? WHERE id = ?", (error, attempt.id))

    def adopt_attempt(self, number: int, target: str) -> Attempt:
        """Record an attempt that was found on its target, after the journal that knew of it was lost."""
        with self._write():
            values = {"job": self.id, "number": number, "target": target, "started": time.time()}
            self._db.insert("attempts", reason="found again there", remains=Remains.ORPHAN, **values)
        return next(attempt for attempt in self.attempts if attempt.number == number)

    def may_remain(self, attempt: Attempt) -> None:
        """Record, before anything of an attempt is on its target, that something will be."""
        with self._write():
            self._db.execute("UPDATE attempts SET remains = ? WHERE id = ?", (Remains.ORPHAN, attempt.id))

    def end_attempt(self, attempt: Attempt, state: str, error: str, timings: Mapping[str, float]) -> None:
        """Record how an attempt ended: done, failed, lost or cancelled. What was said first counts."""
        with self._note():
            self._db.execute(
                "UPDATE attempts SET state = ?, ended = ?, error = ?, timings = ? WHERE id = ? AND state = 'running'",
                (state, time.time(), error, json.dumps(dict(timings)), attempt.id),
            )

    def observe(self, target: Target, found: Iterable[Observation]) -> None:
        """Remember what was measured of a target."""
        with self._note():
            self.journal.history.insert(target, found)

    def note_versions(self, attempt: Attempt, versions: Mapping[str, Any]) -> None:
        """Remember the versions an attempt ran with, beside those told before."""
        with self._note():
            row = self._db.row("SELECT versions FROM attempts WHERE id = ?", (attempt.id,))
            known = {**json.loads(row["versions"] if row else "{}"), **versions}
            self._db.execute("UPDATE attempts SET versions = ? WHERE id = ?", (json.dumps(known), attempt.id))

    def keep_log(self, attempt: Attempt, text: str) -> None:
        """Keep what a script said on stderr; only the end of a long one."""
        with self._note():
            self._db.execute("INSERT OR REPLACE INTO logs VALUES (?, ?)", (attempt.id, text[-LOG_CHARS:]))

    def note_checkpoint(self, attempt: Attempt, made: Checkpoint) -> None:
        """Remember a checkpoint that an attempt made; one of the same name gives way to it."""
        with self._write():
            values = (self.id, made.index, made.name, made.size, made.sha256, attempt.number)
            self._db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", values)

    def drop_checkpoint(self, lost: Checkpoint) -> None:
        """Forget a checkpoint that is not here any more."""
        with self._write():
            self._db.execute(
                "DELETE FROM checkpoints WHERE job = ? AND idx = ? AND name = ?", (self.id, lost.index, lost.name)
            )

    # Items

    def note_progress(self, index: int, fraction: float, speed: float = 0.0, eta: float = 0.0) -> None:
        """Remember how far an open item is, 0 to 1, how fast, and how long it will take still."""
        with self._note():
            values = (fraction, speed, eta, self.id, index)
            self._db.execute(
                "UPDATE items SET progress = ?, speed = ?, eta = ? WHERE job = ? AND idx = ? AND kind IS NULL"
                " AND EXISTS (SELECT 1 FROM outputs WHERE job = items.job AND idx = items.idx AND state = 'planned')",
                values,
            )

    def note_payload(self, index: int, payload: Payload) -> None:
        """Remember what was made of an input."""
        with self._write():
            told = json.dumps(asdict(payload))
            self._db.execute("UPDATE items SET payload = ? WHERE job = ? AND idx = ?", (told, self.id, index))

    def fail_item(self, index: int, kind: str, error: str) -> None:
        """Record that an item failed for a reason of its own."""
        with self._write():
            self._db.execute(
                "UPDATE items SET kind = ?, error = ? WHERE job = ? AND idx = ?", (kind, error, self.id, index)
            )

    def intend(
        self, attempt: Attempt, index: int, files: Mapping[str, tuple[int, str]], measured: Mapping[str, Any]
    ) -> None:
        """Record that an item's outputs (name -> size, sha256) are about to be published."""
        with self._write():
            for name, (size, sha256) in files.items():
                self._db.execute(
                    "UPDATE outputs SET state = 'intent', size = ?, sha256 = ?, attempt = ?, term = ?"
                    " WHERE job = ? AND idx = ? AND name = ? AND state != 'published'",
                    (size, sha256, attempt.number, self.term, self.id, index, name),
                )
            self._db.execute(
                "UPDATE items SET measured = ?, progress = 1 WHERE job = ? AND idx = ?",
                (json.dumps(dict(measured)), self.id, index),
            )

    def published(self, index: int, name: str, dest: Path) -> None:
        """Record that an output is at `dest` for good."""
        with self._write():
            self._db.execute(
                "UPDATE outputs SET state = 'published', dest = ? WHERE job = ? AND idx = ? AND name = ?",
                (os.fsencode(dest), self.id, index, name),
            )
