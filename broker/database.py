"""The journal's SQLite file: opened, brought up to date, every error of it a sentence. The only user of SQLite.

A damaged file is set aside under another name, never deleted, and a new one begun.
"""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.errors import Busy, ConfigError, LimitError, OffloadError
from broker.schema import STEPS

BUSY_SECONDS = 30.0
"""How long a transaction waits for those of other processes, each of a few milliseconds."""

AGAIN_SECONDS = 0.01

SPARE_BYTES = 2**20
"""With less than this, an error of input or output is for want of room: the file beside the journal cannot grow."""

Row = sqlite3.Row
Values = Sequence[Any] | Mapping[str, Any]


DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Damaged(ConfigError):
    """The file is no database any more."""


class Database:
    """An open database. Several processes may use one file. `aside` is where a damaged one was put, if there was one.

    With `mend` off, a damaged one is left where it is. Raises ConfigError when the file cannot be used, LimitError
    when its disk is full.
    """

    def __init__(self, path: Path, mend: bool = True) -> None:
        self._path = path
        self._mark = path.with_name(f"{path.name}.damaged")
        self.aside: Path | None = None
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            suspected = mend and self._mark.exists()
        try:
            if suspected:
                self._set_aside()
            self._open()
        except Damaged:
            if not mend:
                raise
            self._set_aside()
            self._open()

    def _open(self) -> None:
        with self._explained():
            self._db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        try:
            self._log_ahead()
            for pragma in ("synchronous=FULL", "foreign_keys=ON"):
                self.execute(f"PRAGMA {pragma}")
            self._migrate()
        except BaseException:
            self.close()
            raise

    def _log_ahead(self) -> None:
        """Use a write-ahead log. Of several that open a new file at once, SQLite lets most wait, and tells some no."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.execute("PRAGMA journal_mode=WAL")
                return
            except Busy:
                if time.monotonic() > deadline:
                    raise
            time.sleep(AGAIN_SECONDS)

    def _set_aside(self) -> None:
        """Move a damaged file out of the way. Of several processes that find it so, one does."""
        with self._explained(), self._path.with_name(f"{self._path.name}.aside").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            sound = self._is_sound()
            self._mark.unlink(missing_ok=True)
            if sound:  # somebody else was faster
                return
            self.aside = self._path.with_name(f"{self._path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}.sqlite3")
            for tail in ("-wal", "-shm", ""):
                file = self._path.with_name(self._path.name + tail)
                if file.exists():
                    file.replace(self.aside.with_name(self.aside.name + tail))

    def damaged(self) -> list[Path]:
        """The files that were set aside, here or by another process, and that nobody has deleted since."""
        return sorted(self._path.parent.glob(f"{self._path.stem}-damaged-*.sqlite3"))

    def _is_sound(self) -> bool:
        if not self._path.exists():
            return True
        try:
            self._open()
            found = self.rows("PRAGMA quick_check(1)")
            self.close()
        except Damaged:
            return False
        return bool(found) and found[0][0] == "ok"

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def rows(self, statement: str, values: Values = ()) -> list[Row]:
        """Run a query; returns all it found."""
        with self._explained():
            return self._db.execute(statement, values).fetchall()

    def row(self, statement: str, values: Values = ()) -> Row | None:
        """Run a query; returns the first row it found, if any."""
        return next(iter(self.rows(statement, values)), None)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; returns the number of the row it inserted, if it did."""
        with self._explained():
            return self._db.execute(statement, values).lastrowid or 0

    def insert(self, table: str, **values: object) -> int:
        """Insert a row; returns its number. Table and columns are this program's own words, never data."""
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608
        return self.execute(statement, tuple(values.values()))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a mistake of this program, not of the file
        except (OSError, sqlite3.DatabaseError) as error:
            raise self._sentence(error) from error

    def _sentence(self, error: Exception) -> OffloadError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._is_full()):
            return LimitError(f"the disk that holds the journal {self._path} is full", "make room there")
        if code == sqlite3.SQLITE_BUSY:
            what = (
                f"another process has been writing the journal {self._path} for {BUSY_SECONDS:.0f} s; it may be stopped"
            )
            return Busy(what, "let it go on (fg), or end it; then type the same again")
        if code in DAMAGED:
            self._mark.touch()  # whoever opens it next sets it aside
            return Damaged(f"the journal {self._path} is damaged: {error}", "type the same again: it is then set aside")
        hint = f"move {self._path} away, or point OFFLOAD_STATE_DIR elsewhere"
        return ConfigError(f"the journal {self._path} cannot be used: {error}", hint)

    def _is_full(self) -> bool:
        return shutil.disk_usage(self._path.parent).free < SPARE_BYTES

    @contextmanager
    def looking(self) -> Iterator[None]:
        """All that is read meanwhile is of one moment, whatever others write. Nothing may be written in it."""
        if self._db.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self.execute("ROLLBACK")

    @contextmanager
    def write_lightly(self) -> Iterator[None]:
        """One transaction that no killed process undoes. A power cut may, unless one that is durable has followed."""
        self.execute("PRAGMA synchronous=NORMAL")
        try:
            with self.write():
                yield
        finally:
            self.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def write(self) -> Iterator[None]:
        """One transaction: all of it, durably, or none."""
        try:
            self.execute("BEGIN IMMEDIATE")
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self.execute("ROLLBACK")
            raise

    def _migrate(self) -> None:
        if self._version() < len(STEPS):
            with self.write():
                for number in range(self._version(), len(STEPS)):
                    for statement in STEPS[number].split(";"):
                        self.execute(statement)
                self.execute(f"PRAGMA user_version={len(STEPS)}")
        if self._version() > len(STEPS):
            raise ConfigError(
                f"the journal {self._path} is of a newer version of this program"
                f" ({self._version()}; this one knows {len(STEPS)})",
                "upgrade this program, or point OFFLOAD_STATE_DIR elsewhere",
            )

    def _version(self) -> int:
        return int(self.rows("PRAGMA user_version")[0][0])
