"""Where keys lie: a small SQLite file in the data folder, or tables in the jobs' PostgreSQL.

The file is in SQLite's rollback journal mode, so that the command line may change it while the
server runs. Times are seconds since 1970 by the database's clock, epoch().
"""

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rotoscope.postgres import EPOCH, SCHEMA_LOCK, Postgres

FILE_NAME = "keys.sqlite"

# DOUBLE PRECISION is SQLite's REAL too; PostgreSQL's REAL has no room for a date.
TABLES = """
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('client', 'worker')),
  sha256 TEXT NOT NULL,
  last_four TEXT NOT NULL,
  created_at DOUBLE PRECISION NOT NULL,
  expires_at DOUBLE PRECISION,
  revoked_at DOUBLE PRECISION
);
CREATE TABLE IF NOT EXISTS key_limits (
  owner TEXT PRIMARY KEY,
  max_running INTEGER CHECK (max_running > 0),
  max_queued INTEGER CHECK (max_queued > 0),
  per_minute INTEGER CHECK (per_minute > 0),
  weight DOUBLE PRECISION NOT NULL CHECK (weight > 0),
  priority TEXT NOT NULL CHECK (priority IN ('normal', 'low'))
);
"""
Rows = Sequence[Mapping[str, Any]]


class Tables(Protocol):
    """A database with the tables above."""

    def run(self, sql: str, **values: object) -> Rows:
        """Run one statement, a transaction of its own, with named parameters (`:name`)."""

    def close(self) -> None: ...


class SqliteTables:
    """The file of one data folder; made where it is missing, for its owner's eyes only."""

    def __init__(self, data_dir: Path, clock: Callable[[], float]) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        file = data_dir / FILE_NAME
        file.touch(mode=0o600)
        self._connection = sqlite3.connect(
            file, timeout=10, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = _as_dict
        self._connection.create_function("epoch", 0, clock)
        self._connection.executescript(TABLES)

    def run(self, sql: str, **values: object) -> Rows:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class PostgresTables:
    """Tables beside those of the jobs; created where they are missing."""

    def __init__(self, url: str) -> None:
        self._pool = Postgres(url, most=4)
        with self._pool.transaction() as session:
            session.script(SCHEMA_LOCK)
            session.script(EPOCH + TABLES)

    def run(self, sql: str, **values: object) -> Rows:
        # Each statement of the store says the same when it is sent twice.
        return self._pool.run(sql, again=True, **values)

    def close(self) -> None:
        self._pool.close()


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}
