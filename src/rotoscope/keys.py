"""API keys: who may ask (clients) and who may work (workers).

They live in a small file of their own, in SQLite's rollback journal mode, so that the command line
may change them while the server runs. Of a token only its SHA-256 is kept: a token has 256 random
bits, so that nothing slower is needed. A rotated key keeps its owner, and with it its requests.
"""

import hashlib
import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

from rotoscope.errors import OperatorError

Role = Literal["client", "worker"]
FILE_NAME = "keys.sqlite"

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('client', 'worker')),
  sha256 TEXT NOT NULL,
  last_four TEXT NOT NULL,
  created_at REAL NOT NULL,
  expires_at REAL,
  revoked_at REAL
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    id: str
    owner: str
    """Stays the same through rotations; jobs belong to it."""
    name: str
    role: Role
    last_four: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class NewKey:
    key: Key
    token: str
    """Shown to its owner once, and never stored."""


class KeyStore:
    """The keys of one data folder."""

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clock = clock
        self._lock = threading.Lock()
        file = data_dir / FILE_NAME
        file.touch(mode=0o600)
        self._connection = sqlite3.connect(
            file, timeout=10, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        self._run(_CREATE_TABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def create(self, name: str, role: Role = "client") -> NewKey:
        """Make a key for a new owner."""
        return self._insert(_new_id(), name, role)

    def list(self) -> Sequence[Key]:
        """Every key ever made, oldest first."""
        return [_key(row) for row in self._run("SELECT * FROM keys ORDER BY created_at, id")]

    def get(self, key_id: str) -> Key:
        """One key.

        Raises:
            OperatorError: There is no such key.
        """
        rows = self._run("SELECT * FROM keys WHERE id = ?", key_id)
        if not rows:
            raise OperatorError(f"There is no key {key_id}; `rotoscope keys list` shows them all.")
        return _key(rows[0])

    def revoke(self, key_id: str) -> Key:
        """End a key at once; revoking it again changes nothing."""
        self._run(
            "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
            self._clock(),
            key_id,
        )
        return self.get(key_id)

    def rotate(self, key_id: str, overlap: timedelta) -> NewKey:
        """Make a successor with the same owner, name and role; the old key ends after `overlap`.

        Raises:
            OperatorError: There is no such key, or it has ended.
        """
        old = self.get(key_id)
        if not old.usable(_moment(self._clock())):
            raise OperatorError(f"Key {key_id} has ended; make a new one with `rotoscope keys`.")
        new = self._insert(old.owner, old.name, old.role)
        end = self._clock() + overlap.total_seconds()
        # An earlier end, from an earlier rotation, stays.
        self._run(
            "UPDATE keys SET expires_at = min(coalesce(expires_at, ?1), ?1) WHERE id = ?2",
            end,
            key_id,
        )
        return new

    def verify(self, token: str) -> Key | None:
        """The key of this token, if it is one that may be used now."""
        parts = token.split("_", 2)
        rows = self._run("SELECT * FROM keys WHERE id = ?", parts[1]) if len(parts) == 3 else []  # noqa: PLR2004 - roto, id, secret
        # Unknown ids are compared too, so that they take as long as known ones.
        expected = rows[0]["sha256"] if rows else _sha256("")
        same = hmac.compare_digest(_sha256(token), expected)
        if not rows or not same:
            return None
        key = _key(rows[0])
        return key if key.usable(_moment(self._clock())) else None

    def has_client(self) -> bool:
        """Whether any client key can be used now."""
        now = _moment(self._clock())
        return any(key.role == "client" and key.usable(now) for key in self.list())

    def _insert(self, owner: str, name: str, role: Role) -> NewKey:
        key_id = _new_id()
        token = f"roto_{key_id}_{secrets.token_urlsafe(32)}"
        self._run(
            "INSERT INTO keys (id, owner, name, role, sha256, last_four, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(key_id, owner, name, role, _sha256(token), token[-4:], self._clock()),
        )
        return NewKey(self.get(key_id), token)

    def _run(self, statement: str, *values: object) -> Sequence[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()


def _new_id() -> str:
    return secrets.token_hex(6)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _key(row: sqlite3.Row) -> Key:
    facts: dict[str, Any] = {name: row[name] for name in row.keys() if name != "sha256"}  # noqa: SIM118 - a Row iterates over its values
    for name in ("created_at", "expires_at", "revoked_at"):
        facts[name] = None if facts[name] is None else _moment(facts[name])
    return Key(**facts)
