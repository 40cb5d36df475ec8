"""The job table in one SQLite file that one process owns: the embedded default.

One connection writes, behind a lock; a second one reads. More than one writer is refused, for two
reasons: processes that write together stall each other for seconds, and SQLite before 3.51.3 can
corrupt its file when two connections checkpoint at once (sqlite.org/wal.html#walresetbug).
"""

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import IO

from rotoscope.errors import OperatorError
from rotoscope.jobs.database import Answer, Run
from rotoscope.jobs.rows import Row
from rotoscope.jobs.statements import SQLITE, check_version, statements
from rotoscope.jobs.table import WEEK_S, JobTable

FILE_NAME = "jobs.sqlite"

SQL = statements(SQLITE)


class SqliteJobStore(JobTable):
    """Opens the table of a data folder, and owns it until closed.

    Raises:
        OperatorError: Another process owns it, or it cannot be used.
    """

    def __init__(  # noqa: PLR0913 - one setting each
        self,
        data_dir: Path,
        *,
        lease_s: float,
        max_attempts: int,
        retention_s: float | None = WEEK_S,
        default_limit: int | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.database = SqliteDatabase(data_dir, clock or steady_clock())
        super().__init__(
            self.database,
            lease_s=lease_s,
            max_attempts=max_attempts,
            retention_s=retention_s,
            default_limit=default_limit,
        )
        self.database.write("extend_leases", lease_s=lease_s)
        self.database.write("send_again")
        self.database.write("set_expiry", retention_s=retention_s)


class SqliteDatabase:
    """The file and its two connections."""

    def __init__(self, data_dir: Path, clock: Callable[[], float]) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        with ExitStack() as opened:
            opened.enter_context(_own(data_dir))
            self.writer = opened.enter_context(closing(_connect(data_dir / FILE_NAME, clock)))
            _prepare(self.writer, data_dir / FILE_NAME)
            # Closed first, so that it is the writer that folds the log into the file.
            self.reader = opened.enter_context(closing(_connect(data_dir / FILE_NAME, clock)))
            self.reader.execute("PRAGMA query_only = ON")
            self._opened = opened.pop_all()

    def close(self) -> None:
        with self._writing, self._reading:
            self._opened.close()

    def read(self, statement: str, /, **values: object) -> Sequence[Row]:
        with self._reading:
            return self.reader.execute(SQL[statement], values).fetchall()

    def write(self, statement: str, /, **values: object) -> Sequence[Row]:
        with self._writing:
            return self._run(statement, **values)

    def transact(self, work: Callable[[Run], Answer], /) -> Answer:
        with self._writing:
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                answer = work(self._run)
                self.writer.execute("COMMIT")
            except BaseException:
                self.writer.execute("ROLLBACK")
                raise
            return answer

    def _run(self, statement: str, /, **values: object) -> Sequence[Row]:
        return self.writer.execute(SQL[statement], values).fetchall()


def steady_clock() -> Callable[[], float]:
    """Seconds since 1970 that pass evenly, whatever is done to the machine's clock meanwhile.

    A clock that is set back by an hour would keep a lost worker's lease alive for an hour. Time in
    which the machine sleeps does pass.
    """
    passed = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    began = time.time() - passed()
    return lambda: began + passed()


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
    """Set the writer up, lay out an empty file, upgrade an older one, check a used one.

    Raises:
        OperatorError: The file is of another kind or of a newer version, or its disk is no place
            for it.
    """
    try:
        mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        writer.execute("PRAGMA synchronous = FULL")
        version, release = _lay_out(writer)
        writer.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as error:
        raise OperatorError(f"{file} cannot be used as a job table: {error}.") from error
    if mode != "wal":
        raise OperatorError(f"{file} must be on a local disk: this one cannot share memory.")
    check_version(str(file), version, release)


def _lay_out(writer: sqlite3.Connection) -> tuple[int, str]:
    """The version of the file and the first release that knows it, after what had to be done."""
    if not writer.execute("SELECT 1 FROM sqlite_master").fetchone():
        _script(writer, SQL["lay_out"])
    elif _version(writer) == 1:
        # Tables that name another one go on naming it while it is replaced.
        writer.execute("PRAGMA legacy_alter_table = ON")
        _script(writer, SQL["upgrade_2"])
        writer.execute("PRAGMA legacy_alter_table = OFF")
    row = writer.execute("SELECT * FROM schema_version").fetchone()
    return row["version"], row["release"]


def _script(writer: sqlite3.Connection, text: str) -> None:
    """Several statements, all or none."""
    try:
        writer.executescript(f"BEGIN IMMEDIATE; {text}; COMMIT;")
    except sqlite3.DatabaseError:
        writer.execute("ROLLBACK")
        raise


def _version(writer: sqlite3.Connection) -> int:
    return int(writer.execute("SELECT version FROM schema_version").fetchone()[0])
