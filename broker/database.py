"""The journal's SQLite file: opened, brought up to date, every error of it a sentence. The only user of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.errors import ConfigError, LimitError, OffloadError
from broker.schema import STEPS

BUSY_SECONDS = 30.0
"""How long a transaction waits for those of other processes, each of a few milliseconds."""

Row = sqlite3.Row


class Database:
    """An open database. Several processes may use one file.

    Raises ConfigError when the file cannot be used, LimitError when its disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self.execute(f"PRAGMA {pragma}")
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run a query; returns all it found."""
        with self._explained():
            return self._db.execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
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
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return LimitError(f"the disk that holds the journal {self._path} is full", "make room there")
        hint = f"move {self._path} away, or point OFFLOAD_STATE_DIR elsewhere"
        return ConfigError(f"the journal {self._path} cannot be used: {error}", hint)

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
