"""Webhooks are signed so that their receiver can tell them from anybody else's requests.

The scheme is Standard Webhooks 1.0 with asymmetric keys (`v1a`): ED25519 over `id.timestamp.body`,
told in the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`. Public keys are at
/.well-known/jwks.json. After a rotation both keys sign for a week, so that a receiver that has
cached either goes on.

The private keys are in `data_dir/webhook_keys.json`, or in the database where there is one, which
all servers share. The first is made when it is first needed.
"""

import json
import os
import secrets
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rotoscope.errors import OperatorError
from rotoscope.postgres import Postgres
from rotoscope.settings import Settings

FILE_NAME = "webhook_keys.json"
OVERLAP_S = 7 * 24 * 3600.0
RELOAD_S = 60.0
_LOCK_ID = 0x726F746F73
"""Of the advisory lock under which the database's keys are made."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    id: str
    private: bytes
    """32 bytes."""
    made_at: float
    """Seconds since 1970."""

    @classmethod
    def new(cls, now: float) -> "SigningKey":
        return cls(secrets.token_hex(8), Ed25519PrivateKey.generate().private_bytes_raw(), now)

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.private).sign(message)

    @property
    def public(self) -> bytes:
        key = Ed25519PrivateKey.from_private_bytes(self.private).public_key()
        return key.public_bytes_raw()

    @property
    def jwk(self) -> dict[str, str]:
        """The public half, as RFC 8037 has it."""
        x = urlsafe_b64encode(self.public).rstrip(b"=").decode()
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.id,
            "x": x,
        }


class KeyPlace(Protocol):
    """Where the private keys are kept."""

    def load(self) -> list[SigningKey]:
        """All keys, the oldest first."""

    def add(self, key: SigningKey, *, only_if_empty: bool, drop_before: float) -> None:
        """Keep `key`, and forget those made before `drop_before`."""

    def close(self) -> None: ...


class KeyFile:
    """The keys of a server that has its data folder to itself."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    def load(self) -> list[SigningKey]:
        if not self._path.exists():
            return []
        try:
            rows = json.loads(self._path.read_text())
            found = [SigningKey(r["id"], b64decode(r["private"]), r["made_at"]) for r in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise OperatorError(
                f"{self._path} is damaged; restore it, or remove it to have a new key made."
            ) from error
        return sorted(found, key=lambda key: key.made_at)

    def add(self, key: SigningKey, *, only_if_empty: bool, drop_before: float) -> None:
        kept = self.load()
        if only_if_empty and kept:
            return
        rows = [
            {"id": k.id, "private": b64encode(k.private).decode(), "made_at": k.made_at}
            for k in (*(k for k in kept if k.made_at >= drop_before), key)
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(f".{secrets.token_hex(4)}")
        # Readable by nobody else from its first byte on.
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    def close(self) -> None:
        """Nothing is held."""


class KeyTable:
    """The keys of all servers on one PostgreSQL database, in a table that is made when missing."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    def load(self) -> list[SigningKey]:
        sql = "SELECT to_regclass('webhook_keys') IS NOT NULL AS there"
        if not self._database.run(sql, again=True)[0]["there"]:
            return []
        sql = "SELECT id, private, made_at FROM webhook_keys ORDER BY made_at"
        rows = self._database.run(sql, again=True)
        return [SigningKey(r["id"], b64decode(r["private"]), r["made_at"]) for r in rows]

    def add(self, key: SigningKey, *, only_if_empty: bool, drop_before: float) -> None:
        with self._database.transaction() as session:
            session.script(f"SELECT pg_advisory_xact_lock({_LOCK_ID})")
            session.script(
                "CREATE TABLE IF NOT EXISTS webhook_keys (id text PRIMARY KEY, "
                "private text NOT NULL, made_at double precision NOT NULL)"
            )
            if only_if_empty and session.run("SELECT 1 AS one FROM webhook_keys LIMIT 1"):
                return
            session.run("DELETE FROM webhook_keys WHERE made_at < :before", before=drop_before)
            session.run(
                "INSERT INTO webhook_keys VALUES (:id, :private, :made_at)",
                id=key.id,
                private=b64encode(key.private).decode(),
                made_at=key.made_at,
            )

    def close(self) -> None:
        self._database.close()


class Signer:
    """Signs, and says which keys it signs with; safe to use from any thread."""

    def __init__(self, place: KeyPlace, clock: Callable[[], float] = time.time) -> None:
        self._place = place
        self._clock = clock
        self._lock = Lock()
        self._keys: Sequence[SigningKey] = ()
        self._loaded_at = float("-inf")

    def headers(self, delivery_id: str, body: bytes) -> dict[str, str]:
        """The three headers of Standard Webhooks, with a signature of each key in use."""
        stamp = str(int(self._clock()))
        message = f"{delivery_id}.{stamp}.".encode() + body
        signatures = [b64encode(key.sign(message)).decode() for key in self.in_use()]
        return {
            "webhook-id": delivery_id,
            "webhook-timestamp": stamp,
            "webhook-signature": " ".join(f"v1a,{signature}" for signature in signatures),
        }

    def close(self) -> None:
        self._place.close()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        return {"keys": [key.jwk for key in self.in_use()]}

    def in_use(self) -> Sequence[SigningKey]:
        """Those in use, the newest first; looked up anew once a minute."""
        with self._lock:
            if self._clock() - self._loaded_at >= RELOAD_S:
                self._keys = self._load()
                self._loaded_at = self._clock()
            return self._keys

    def rotate(self) -> SigningKey:
        """Make a new key; those of before go on signing for a week."""
        with self._lock:
            kept = self._place.load()
            # Later than the last one, whatever the clock says: the newest is what signs.
            now = max(self._clock(), kept[-1].made_at + 1e-3 if kept else 0)
            key = SigningKey.new(now)
            in_use = _in_use(kept, now)
            oldest = min((k.made_at for k in in_use), default=now)
            self._place.add(key, only_if_empty=False, drop_before=oldest)
            self._loaded_at = float("-inf")
        return key

    def _load(self) -> Sequence[SigningKey]:
        now = self._clock()
        if not self._place.load():
            self._place.add(SigningKey.new(now), only_if_empty=True, drop_before=0)
        return _in_use(self._place.load(), now)


def open_signer(settings: Settings) -> Signer:
    """Where this server's keys are; close it in the end."""
    url = settings.database_url and settings.database_url.get_secret_value()
    place = KeyTable(Postgres(url, most=1)) if url else KeyFile(settings.data_dir)
    return Signer(place)


@contextmanager
def opened_signer(settings: Settings) -> Iterator[Signer]:
    signer = open_signer(settings)
    try:
        yield signer
    finally:
        signer.close()


def _in_use(keys: Sequence[SigningKey], now: float) -> list[SigningKey]:
    """Newest first: a key whose successor is older than the overlap signs no more."""
    newest_first = sorted(keys, key=lambda key: key.made_at, reverse=True)
    successors = [None, *newest_first[:-1]]
    return [
        key
        for key, successor in zip(newest_first, successors, strict=True)
        if successor is None or now - successor.made_at < OVERLAP_S
    ]
