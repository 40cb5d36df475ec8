"""The job table in one SQLite file that one process owns: the embedded default.

One connection writes, behind a lock; a second one reads. More than one writer is refused, for two
reasons: processes that write together stall each other for seconds, and SQLite before 3.51.3 can
corrupt its file when two connections checkpoint at once (sqlite.org/wal.html#walresetbug).
"""

import fcntl
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, Self

import uuid_utils

from rotoscope.errors import OperatorError, WorkerLostError
from rotoscope.jobs.job import Job, Lease, State
from rotoscope.jobs.rows import dump_all, read_job
from rotoscope.jobs.store import MOST_PLACES
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress

FILE_NAME = "jobs.sqlite"
SCHEMA_VERSION = 1

SQL = {
    file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
    for file in (files("rotoscope.jobs") / "sql").iterdir()
    if file.name.endswith(".sql")
}

WORKER_LOST = Failure(
    code=WorkerLostError.code,
    message="The worker stopped answering on every attempt; submit the request again.",
    retryable=WorkerLostError.usually_retryable,
)


class SqliteJobStore:
    """Opens the table of a data folder, and owns it until closed.

    Raises:
        OperatorError: Another process owns it, or it cannot be used.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        lease_s: float,
        max_attempts: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        with ExitStack() as opened:
            opened.enter_context(_own(data_dir))
            self._writer = opened.enter_context(closing(_connect(data_dir / FILE_NAME, clock)))
            _prepare(self._writer, data_dir / FILE_NAME)
            # Closed first, so that it is the writer that folds the log into the file.
            self._reader = opened.enter_context(closing(_connect(data_dir / FILE_NAME, clock)))
            self._reader.execute("PRAGMA query_only = ON")
            self._opened = opened.pop_all()
        self._write("extend_leases", lease_s=lease_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._writing, self._reading:
            self._opened.close()

    def submit(
        self,
        model_id: str,
        key_id: str,
        job_input: VideoToVideoInput,
        warnings: tuple[Adjustment, ...] = (),
    ) -> Job:
        values = {
            "id": str(uuid_utils.uuid7()),
            "model_id": model_id,
            "key_id": key_id,
            "max_attempts": self._max_attempts,
            "warnings": dump_all(warnings),
        }
        body = job_input.model_dump_json()
        with self._transaction() as writer:
            row = writer.execute(SQL["submit"], values).fetchone()
            writer.execute(SQL["submit_input"], {"id": values["id"], "input": body})
        return read_job(row)

    def get(self, job_id: str) -> Job | None:
        rows = self._read("get", id=job_id)
        return read_job(rows[0]) if rows else None

    def position(self, job_id: str) -> int | None:
        return self._read("position", id=job_id, most=MOST_PLACES)[0]["place"] or None

    def waiting(self) -> int:
        return int(self._read("waiting")[0]["jobs"])

    def claim(self, worker_id: str) -> Lease | None:
        # Most claims find nothing; those need no write.
        if not self.waiting():
            return None
        token = str(uuid_utils.uuid4())
        rows = self._write("claim", worker_id=worker_id, token=token, lease_s=self._lease_s)
        return self._lease(read_job(rows[0]), token) if rows else None

    def heartbeat(
        self,
        job_id: str,
        token: str,
        progress: Progress | None = None,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        rows = self._write(
            "heartbeat",
            id=job_id,
            token=token,
            lease_s=self._lease_s,
            progress=progress and progress.model_dump_json(),
            warnings=None if warnings is None else dump_all(warnings),
        )
        return bool(rows)

    def succeed(
        self,
        job_id: str,
        token: str,
        outcome: Outcome,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        values = {"outcome": outcome.model_dump_json(), "warnings": warnings}
        return self._settle("succeed", job_id, token, values, State.SUCCEEDED)

    def fail(
        self,
        job_id: str,
        token: str,
        failure: Failure,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        values = {"failure": failure.model_dump_json(), "warnings": warnings}
        return self._settle("fail", job_id, token, values, State.FAILED)

    def release(self, job_id: str, token: str) -> bool:
        # Once released, the job may have been cancelled: that was this release's doing too.
        return self._settle("release", job_id, token, {}, State.IN_QUEUE, State.CANCELLED)

    def cancel(self, job_id: str) -> bool:
        return bool(self._write("cancel", id=job_id))

    def reap(self) -> list[Job]:
        return [read_job(row) for row in self._write("reap", failure=WORKER_LOST.model_dump_json())]

    def _lease(self, job: Job, token: str) -> Lease:
        body = self._read("input", job_id=job.id, id=job.id)[0]["body"]
        return Lease(job, token, VideoToVideoInput.model_validate_json(body))

    def _settle(
        self, statement: str, job_id: str, token: str, values: dict[str, Any], *ends: State
    ) -> bool:
        """End an attempt, or find that this very token ended it so before."""
        if values.get("warnings") is not None:
            values = {**values, "warnings": dump_all(values["warnings"])}
        changed = self._write(statement, id=job_id, token=token, **values)
        states = json.dumps(ends)
        return bool(changed or self._read("settled", id=job_id, token=token, states=states))

    def _read(self, statement: str, **values: object) -> list[sqlite3.Row]:
        with self._reading:
            return self._reader.execute(SQL[statement], values).fetchall()

    def _write(self, statement: str, **values: object) -> list[sqlite3.Row]:
        """Run one statement: a transaction of its own, on disk when this returns."""
        with self._writing:
            return self._writer.execute(SQL[statement], values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise


def _own(data_dir: Path) -> IO[str]:
    """Take the folder's lock file; the system gives it back however this process ends."""
    file = (data_dir / "jobs.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OperatorError(
            f"Another Rotoscope server uses {data_dir}. Stop it, or give this one another "
            "data_dir (ROTOSCOPE_DATA_DIR)."
        ) from None
    return file


def _connect(file: Path, clock: Callable[[], float]) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.create_function("epoch", 0, clock)
    return connection


def _prepare(writer: sqlite3.Connection, file: Path) -> None:
    """Set the writer up, lay out an empty file, check a used one.

    Raises:
        OperatorError: The file is of another kind or version, or its disk is no place for it.
    """
    try:
        mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("PRAGMA foreign_keys = ON")
        if not writer.execute("SELECT 1 FROM sqlite_master").fetchone():
            writer.executescript(f"BEGIN IMMEDIATE; {SQL['schema']} COMMIT;")
        version = writer.execute("SELECT version FROM schema_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise OperatorError(f"{file} cannot be used as a job table: {error}.") from error
    if mode != "wal":
        raise OperatorError(f"{file} must be on a local disk: this one cannot share memory.")
    if version != SCHEMA_VERSION:
        raise OperatorError(
            f"{file} has schema version {version}, this Rotoscope needs {SCHEMA_VERSION}; use the "
            "release that wrote it, or another data_dir."
        )
