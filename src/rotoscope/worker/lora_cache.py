"""LoRAs that were downloaded once, kept on the worker's disk under the hash of their content.

    files/SHA256.safetensors    the LoRAs
    index.sqlite                which source brought which of them, and when they were used
    downloads/                  what is being downloaded, a lock for each source

Several processes of one machine share it. What exceeds the quota goes, the least recently used
first; never what is pinned, nor what a running job uses: a use is the folder of the job, and holds
as long as that folder is there, however the job ends.
"""

import fcntl
import hashlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from rotoscope import telemetry
from rotoscope.errors import OperatorError
from rotoscope.media.fetch import Version
from rotoscope.settings import Settings

log = telemetry.logger()

LOCK_POLL_S = 0.1
BUSY_S = 60
LEAST_PREFIX = 6
STALE_S = 24 * 3600
"""How long what is left of a broken download may be gone on with."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    sha256 TEXT PRIMARY KEY, bytes INTEGER NOT NULL, used_at REAL NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS sources (
    source TEXT PRIMARY KEY, etag TEXT NOT NULL, modified TEXT NOT NULL,
    sha256 TEXT NOT NULL REFERENCES files (sha256) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS uses (
    folder TEXT NOT NULL, sha256 TEXT NOT NULL REFERENCES files (sha256) ON DELETE CASCADE,
    PRIMARY KEY (folder, sha256)
);
"""


@dataclass(frozen=True, slots=True)
class CachedLora:
    """A file of the cache."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What `rotoscope loras list` shows of a file."""

    sha256: str
    size_bytes: int
    used_at: datetime
    pinned: bool
    in_use: bool
    sources: tuple[str, ...]
    """Where it came from: URLs without their query, which may hold a token, and
    `owner/name@commit/file` on Hugging Face."""
    path: Path


class LoraCache:
    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        self._folder = folder
        self._files = folder / "files"
        self._downloads = folder / "downloads"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.data_dir / "loras", settings.lora_cache_bytes)

    @contextmanager
    def downloading(self, source: str) -> Iterator[Path]:
        """A place to download `source` to, which no other process of this machine has meanwhile.

        What is left there when the context ends stays for the next attempt.
        """
        self._downloads.mkdir(parents=True, exist_ok=True)
        place = self._downloads / hashlib.sha256(source.encode()).hexdigest()
        with place.with_suffix(".lock").open("w") as lock:
            # Not one blocking call, so that a job that is told to stop can do so while it waits.
            while not _locked(lock.fileno()):
                time.sleep(LOCK_POLL_S)
            yield place

    def version_of(self, source: str) -> Version | None:
        """The version of `source` that is here; None where it is not."""
        with self._index() as index:
            row = index.execute(
                "SELECT etag, modified, sha256 FROM sources WHERE source = ?", (source,)
            ).fetchone()
        return Version(row[0], row[1]) if row and self._path(row[2]).exists() else None

    def use(self, source: str, job: Path | None) -> CachedLora | None:
        """The file that `source` brought, kept as long as the folder `job` is there."""
        with self._index() as index:
            row = index.execute("SELECT sha256 FROM sources WHERE source = ?", (source,)).fetchone()
            if row is None or not self._path(row[0]).exists():
                return None
            self._note_use(index, row[0], job)
        return CachedLora(self._path(row[0]), row[0])

    def adopt(self, file: Path, source: str, version: Version, job: Path | None) -> CachedLora:
        """Move `file`, downloaded from `source`, into the cache; then keep to the quota."""
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        size, path = file.stat().st_size, self._path(sha256)
        with self._index() as index:
            self._files.mkdir(exist_ok=True)
            file.replace(path)
            index.execute(
                "INSERT OR IGNORE INTO files (sha256, bytes, used_at) VALUES (?, ?, 0)",
                (sha256, size),
            )
            index.execute(
                "INSERT OR REPLACE INTO sources (source, etag, modified, sha256) "
                "VALUES (?, ?, ?, ?)",
                (source, version.etag, version.modified, sha256),
            )
            self._note_use(index, sha256, job)
            self._keep_to_quota(index, spare=sha256)
        return CachedLora(path, sha256)

    def list(self) -> list[Entry]:
        """Every file, the most recently used first."""
        with self._index() as index:
            rows = index.execute(
                "SELECT sha256, bytes, used_at, pinned FROM files ORDER BY used_at DESC"
            ).fetchall()
            return [
                Entry(
                    sha256,
                    size,
                    datetime.fromtimestamp(used_at, UTC),
                    bool(pinned),
                    _in_use(index, sha256),
                    _sources(index, sha256),
                    self._path(sha256),
                )
                for sha256, size, used_at, pinned in rows
            ]

    def pin(self, name: str, *, pinned: bool) -> Entry:
        """Keep a file whatever the quota, or no longer. `name` as for `find`."""
        entry = self.find(name)
        with self._index() as index:
            index.execute("UPDATE files SET pinned = ? WHERE sha256 = ?", (pinned, entry.sha256))
            self._keep_to_quota(index, spare=entry.sha256 if pinned else "")
        return entry

    def delete(self, name: str) -> Entry:
        """Remove a file. `name` as for `find`.

        Raises:
            OperatorError: It is not there, is pinned, or a running job uses it.
        """
        entry = self.find(name)
        with self._index() as index:
            if entry.pinned:
                raise OperatorError(f"{name} is pinned; unpin it first.")
            if _in_use(index, entry.sha256):
                raise OperatorError(f"{name} is used by a running job; try again when it ended.")
            self._remove(index, entry.sha256)
        return entry

    def find(self, name: str) -> Entry:
        """The file whose hash starts with `name`, or that came from the source `name`.

        Raises:
            OperatorError: There is none, or more than one.
        """
        long_enough = len(name) >= LEAST_PREFIX
        found = [
            entry
            for entry in self.list()
            if _shown(name) in entry.sources or (long_enough and entry.sha256.startswith(name))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise OperatorError(f"{name} means {len(found)} LoRAs; write more of the hash.")
        raise OperatorError(
            f"No LoRA here is named {name}: pass a source that `rotoscope loras list` shows, or "
            f"at least {LEAST_PREFIX} characters of a hash."
        )

    def _path(self, sha256: str) -> Path:
        return self._files / f"{sha256}.safetensors"

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        """The index, for this process alone until the context ends; an error undoes it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "index.sqlite"
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as index:
            index.executescript(f"PRAGMA foreign_keys = ON; {_SCHEMA}")
            index.execute("BEGIN IMMEDIATE")
            with index:
                yield index

    def _note_use(self, index: sqlite3.Connection, sha256: str, job: Path | None) -> None:
        index.execute("UPDATE files SET used_at = ? WHERE sha256 = ?", (time.time(), sha256))
        if job is not None:
            index.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)", (str(job), sha256))

    def _keep_to_quota(self, index: sqlite3.Connection, *, spare: str) -> None:
        self._sweep(index)
        (total,) = index.execute("SELECT COALESCE(SUM(bytes), 0) FROM files").fetchone()
        candidates = index.execute(
            "SELECT sha256, bytes FROM files WHERE NOT pinned AND sha256 != ? ORDER BY used_at",
            (spare,),
        ).fetchall()
        for sha256, size in candidates:
            if total <= self.quota_bytes:
                return
            if not _in_use(index, sha256):
                self._remove(index, sha256)
                log.info("lora_evicted", sha256=sha256, bytes=size)
                total -= size

    def _sweep(self, index: sqlite3.Connection) -> None:
        """Remove what killed processes left: files that no row names, and old parts of some."""
        known = {sha256 for (sha256,) in index.execute("SELECT sha256 FROM files")}
        for path in self._files.glob("*"):
            if path.stem not in known:
                path.unlink(missing_ok=True)
        for path in self._downloads.glob("*"):
            if path.suffix != ".lock" and time.time() - path.stat().st_mtime > STALE_S:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _remove(self, index: sqlite3.Connection, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)
        index.execute("DELETE FROM files WHERE sha256 = ?", (sha256,))


def _in_use(index: sqlite3.Connection, sha256: str) -> bool:
    rows = index.execute("SELECT folder FROM uses WHERE sha256 = ?", (sha256,)).fetchall()
    gone = [folder for (folder,) in rows if not Path(folder).exists()]
    index.executemany("DELETE FROM uses WHERE folder = ?", [(folder,) for folder in gone])
    return len(gone) < len(rows)


def _sources(index: sqlite3.Connection, sha256: str) -> tuple[str, ...]:
    rows = index.execute(
        "SELECT source FROM sources WHERE sha256 = ? ORDER BY source", (sha256,)
    ).fetchall()
    return tuple(dict.fromkeys(_shown(source) for (source,) in rows))


def _shown(source: str) -> str:
    return source.partition("#")[0].partition("?")[0]


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
