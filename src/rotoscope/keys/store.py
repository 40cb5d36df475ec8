"""The verbs of the key store, whichever database keeps it."""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from rotoscope.errors import OperatorError
from rotoscope.keys.key import Key, Limits, NewKey, Role
from rotoscope.keys.tables import PostgresTables, Rows, SqliteTables, Tables
from rotoscope.settings import Settings

LIMITS_KEPT_S = 2.0
"""How long the limits of all owners may be answered from memory; a claim asks for them often."""

_INSERT_KEY = (
    "INSERT INTO keys (id, owner, name, role, sha256, last_four, created_at, expires_at,"
    " revoked_at) VALUES (:id, :owner, :name, :role, :sha256, :last_four, {created_at},"
    " :expires_at, :revoked_at) ON CONFLICT DO NOTHING"
)
_NEW_KEY = _INSERT_KEY.format(created_at="epoch()")
_COPIED_KEY = _INSERT_KEY.format(created_at=":created_at") + " RETURNING id"
_INSERT_LIMITS = (
    "INSERT INTO key_limits (owner, max_running, max_queued, per_minute, weight, priority)"
    " VALUES (:owner, :max_running, :max_queued, :per_minute, :weight, :priority)"
    " ON CONFLICT (owner) DO "
)
_SET_LIMITS = (
    _INSERT_LIMITS + "UPDATE SET max_running = excluded.max_running,"
    " max_queued = excluded.max_queued, per_minute = excluded.per_minute,"
    " weight = excluded.weight, priority = excluded.priority"
)


class KeyStore:
    """The keys of one data folder, or of one PostgreSQL database (by its URL)."""

    def __init__(self, place: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        """Open the store; `clock` is the embedded database's, PostgreSQL has its own.

        Raises:
            DatabaseAwayError: The database does not answer.
            OperatorError: It refuses, or the URL is none of a PostgreSQL database.
        """
        self._tables: Tables = (
            PostgresTables(place) if isinstance(place, str) else SqliteTables(place, clock)
        )
        self._lock = threading.Lock()
        self._running: tuple[float, Mapping[str, int]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._tables.close()

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
        return _key(self._row(key_id))

    def revoke(self, key_id: str) -> Key:
        """End a key at once; revoking it again changes nothing."""
        self._run(
            "UPDATE keys SET revoked_at = epoch() WHERE id = :id AND revoked_at IS NULL", id=key_id
        )
        return self.get(key_id)

    def rotate(self, key_id: str, overlap: timedelta) -> NewKey:
        """Make a successor with the same owner, name and role; the old key ends after `overlap`.

        Raises:
            OperatorError: There is no such key, or it has ended.
        """
        row = self._row(key_id)
        old = _key(row)
        if not old.usable(_moment(row["now"])):
            raise OperatorError(f"Key {key_id} has ended; make a new one with `rotoscope keys`.")
        new = self._insert(old.owner, old.name, old.role)
        # An earlier end, from an earlier rotation, stays.
        self._run(
            "UPDATE keys SET expires_at = :until"
            " WHERE id = :id AND (expires_at IS NULL OR expires_at > :until)",
            id=key_id,
            until=row["now"] + overlap.total_seconds(),
        )
        return new

    def verify(self, token: str) -> Key | None:
        """The key of this token, if it is one that may be used now."""
        parts = token.split("_", 2)
        rows = self._find(parts[1]) if len(parts) == 3 else []  # noqa: PLR2004 - roto, id, secret
        # Unknown ids are compared too, so that they take as long as known ones.
        expected = rows[0]["sha256"] if rows else _sha256("")
        same = hmac.compare_digest(_sha256(token), expected)
        if not rows or not same:
            return None
        key = _key(rows[0])
        return key if key.usable(_moment(rows[0]["now"])) else None

    def has_client(self) -> bool:
        """Whether any client key can be used now."""
        found = self._run(
            "SELECT 1 AS one FROM keys WHERE role = 'client' AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > epoch()) LIMIT 1"
        )
        return bool(found)

    def limits(self, owner: str) -> Limits:
        """How much this owner may ask; the defaults where nothing was set."""
        rows = self._run("SELECT * FROM key_limits WHERE owner = :owner", owner=owner)
        return _limits(rows[0]) if rows else Limits()

    def set_limits(self, owner: str, limits: Limits) -> None:
        """Hold this owner to `limits` from now on; jobs that are queued stay queued."""
        self._run(_SET_LIMITS, owner=owner, **asdict(limits))
        with self._lock:
            self._running = None

    def running_limits(self) -> Mapping[str, int]:
        """The most running jobs of each owner that has such a limit, at most seconds old."""
        now = time.monotonic()
        with self._lock:
            if self._running and now - self._running[0] < LIMITS_KEPT_S:
                return self._running[1]
        rows = self._run("SELECT owner, max_running FROM key_limits WHERE max_running IS NOT NULL")
        found = {row["owner"]: row["max_running"] for row in rows}
        with self._lock:
            self._running = (now, found)
        return found

    def copy_to(self, other: "KeyStore") -> int:
        """Give `other` the keys (their hashes) and limits that it has not; how many keys."""
        for row in self._run("SELECT * FROM key_limits"):
            other._run(_INSERT_LIMITS + "NOTHING", **row)  # noqa: SLF001 - of the same class
        rows = self._run("SELECT * FROM keys ORDER BY created_at, id")
        return sum(len(other._run(_COPIED_KEY, **row)) for row in rows)  # noqa: SLF001

    def _insert(self, owner: str, name: str, role: Role) -> NewKey:
        key_id = _new_id()
        token = f"roto_{key_id}_{secrets.token_urlsafe(32)}"
        facts = {"name": name, "role": role, "sha256": _sha256(token), "last_four": token[-4:]}
        self._run(_NEW_KEY, id=key_id, owner=owner, **facts, expires_at=None, revoked_at=None)
        return NewKey(self.get(key_id), token)

    def _row(self, key_id: str) -> Mapping[str, Any]:
        rows = self._find(key_id)
        if not rows:
            raise OperatorError(f"There is no key {key_id}; `rotoscope keys list` shows them all.")
        return rows[0]

    def _find(self, key_id: str) -> Rows:
        # PostgreSQL takes no text with a NUL or half a character, and no id has any.
        if not (key_id.isascii() and key_id.isalnum()):
            return []
        return self._run("SELECT *, epoch() AS now FROM keys WHERE id = :id", id=key_id)

    def _run(self, sql: str, **values: object) -> Rows:
        return self._tables.run(sql, **values)


def open_keys(settings: Settings) -> KeyStore:
    """The store that the settings name: the database's where there is one, else the folder's."""
    url = settings.database_url
    return KeyStore(url.get_secret_value() if url else settings.data_dir)


def _new_id() -> str:
    return secrets.token_hex(6)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _key(row: Mapping[str, Any]) -> Key:
    facts = {one.name: row[one.name] for one in fields(Key)}
    for name in ("created_at", "expires_at", "revoked_at"):
        facts[name] = None if facts[name] is None else _moment(facts[name])
    return Key(**facts)


def _limits(row: Mapping[str, Any]) -> Limits:
    return Limits(**{one.name: row[one.name] for one in fields(Limits)})
