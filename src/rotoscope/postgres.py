"""A small pool of connections to one PostgreSQL database, for the job table and the keys.

Connections are opened when they are needed and kept; each holds its prepared statements, so that a
statement's text is read by the server once. A server that restarts costs its connections: what was
under way raises `DatabaseAwayError`, the next statement gets a new connection. A statement that may
be sent again is told so by `again`, and then outlasts a restart of some seconds.
"""
# ruff: noqa: PLC0415 - the driver loads where it is used: a server without a database starts sooner

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from rotoscope.errors import DatabaseAwayError, OperatorError

if TYPE_CHECKING:
    from pg8000.exceptions import DatabaseError
    from pg8000.native import Connection, PreparedStatement

Row = dict[str, Any]
Answer = TypeVar("Answer")

MOST_CONNECTIONS = 12
STATEMENT_TIMEOUT_MS = 30_000
# Longer than a statement may take: a server that says nothing for so long is not there.
SOCKET_TIMEOUT_S = 45.0
PATIENCE_S = 10.0
"""How long a statement that may be sent again waits for a server that is away."""
PAUSE_S = 0.1
RETRY_AFTER_S = 2
SESSION = {
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "lock_timeout": "10000",
    # A process that stops in the middle of a transaction must not hold its locks.
    "idle_in_transaction_session_timeout": "15000",
}
AWAY_CODES = frozenset(
    {
        *("57P01", "57P02", "57P03", "57P05", "08006"),  # the server ends, crashed or starts
        *("53300", "53100", "53200"),  # it has no connection, disk or memory to spare
        *("25P03", "57014", "55P03", "40P01", "40001"),  # it gave the transaction up
        "0A000",  # the table was changed under a prepared statement
        "25006",  # a failover left this address with a server that only reads
    }
)
"""SQLSTATEs that say "not now": nothing was done, the same may work in a moment."""
SCHEMA_LOCK = "SELECT pg_advisory_xact_lock(7107340001)"
"""Begins every change of tables: two servers that start at once must not both create them."""
EPOCH = """
DO $$ BEGIN
  IF to_regprocedure('epoch()') IS NULL THEN
    CREATE FUNCTION epoch() RETURNS double precision LANGUAGE sql VOLATILE
      AS 'SELECT extract(epoch FROM clock_timestamp())::double precision';
  END IF;
END $$;
"""
"""Makes the function that all times come from: seconds since 1970."""
TLS_MODES = ("disable", "prefer", "require", "verify-full")


def is_postgres(url: str) -> bool:
    return urlsplit(url).scheme in {"postgresql", "postgres"}


@dataclass(eq=False)
class Session:
    """One connection; used by one thread at a time."""

    connection: "Connection"
    prepared: dict[str, "PreparedStatement"] = field(default_factory=dict)

    def run(self, sql: str, **values: object) -> list[Row]:
        """Run one statement with named parameters (`:name`); its rows as dicts."""
        statement = self.prepared.get(sql)
        if statement is None:
            statement = self.prepared[sql] = self.connection.prepare(sql)
        rows = statement.run(**values)
        return _rows(statement.columns, rows)

    def script(self, sql: str) -> None:
        """Run several statements without parameters."""
        self.connection.run(sql)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What runs in this block is done together or not at all."""
        from pg8000.exceptions import DatabaseError, InterfaceError

        self.script("BEGIN")
        try:
            yield
            self.script("COMMIT")
        except BaseException:
            # A connection that is gone has rolled back already.
            with suppress(InterfaceError, DatabaseError, OSError):
                self.script("ROLLBACK")
            raise

    def close(self) -> None:
        with suppress(Exception):
            self.connection.close()


class Postgres:
    """The pool. Safe to call from any thread; a thread waits while all connections are in use.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; `?host=/folder` names a socket's
            folder, `?sslmode=` takes disable, prefer (the default), require or verify-full, and
            `?sslrootcert=` a file with the authorities of the last.
        most: Most connections at a time.

    Raises:
        OperatorError: The URL names no database.
    """

    def __init__(self, url: str, *, most: int = MOST_CONNECTIONS) -> None:
        self._options = connect_options(url)
        self._slots = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._closed = False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def run(self, sql: str, *, again: bool = False, **values: object) -> list[Row]:
        """Run one statement, a transaction of its own; its rows as dicts.

        With `again`, which says that running it twice does no harm, it is sent again while the
        server is away, for some seconds.

        Raises:
            DatabaseAwayError: No answer; the statement may or may not have been done.
        """

        def once(session: Session) -> list[Row]:
            return session.run(sql, **values)

        return self.apply(once, again=again)

    def apply(self, work: Callable[[Session], Answer], *, again: bool = False) -> Answer:
        """Let `work` use a connection; with `again`, once more when the server was away."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self.session() as session:
                    return work(session)
            except DatabaseAwayError:
                if not again or time.monotonic() >= until:
                    raise
                time.sleep(PAUSE_S)

    def transact(self, work: Callable[[Session], Answer], *, again: bool = False) -> Answer:
        """Let `work` use a connection in a transaction; with `again`, as `apply` does."""

        def once(session: Session) -> Answer:
            with session.transaction():
                return work(session)

        return self.apply(once, again=again)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A connection in a transaction that is committed at the end, or rolled back."""
        with self.session() as session, session.transaction():
            yield session

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection for this block alone; one that broke is not used again."""
        with self._slots:
            session = self._take()
            try:
                with _telling():
                    yield session
            except DatabaseAwayError:
                self._drop(session)
                raise
            except Exception:
                self._keep(session)
                raise
            except BaseException:
                # Perhaps in the middle of an answer, which the next user would read.
                session.close()
                raise
            self._keep(session)

    def _take(self) -> Session:
        from pg8000.native import Connection, DatabaseError

        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            with _telling():
                return Session(Connection(**self._options))
        except DatabaseError as error:
            raise OperatorError(f"The database refuses: {message_of(error)}.") from error

    def _keep(self, session: Session) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(session)
                return
        session.close()

    def _drop(self, session: Session) -> None:
        """Close it, and the idle ones, which were most likely lost with it: cheap to open."""
        with self._lock:
            idle, self._idle = self._idle, []
        for other in (session, *idle):
            other.close()


def connect_options(url: str) -> dict[str, Any]:
    """What pg8000 is told for this URL.

    Raises:
        OperatorError: It is no URL of a PostgreSQL database.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    database = unquote(parts.path.removeprefix("/"))
    if not is_postgres(url) or not database or not parts.username:
        raise OperatorError(
            "database_url must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or unset for "
            "the embedded database in data_dir."
        )
    options: dict[str, Any] = {
        "user": unquote(parts.username),
        "password": unquote(parts.password) if parts.password else None,
        "database": database,
        "timeout": SOCKET_TIMEOUT_S,
        "application_name": "rotoscope",
        "startup_params": SESSION,
    }
    if folder := query.get("host"):
        return {
            **options,
            "unix_sock": f"{folder}/.s.PGSQL.{parts.port or 5432}",
            "ssl_context": False,
        }
    address = {"host": parts.hostname or "localhost", "port": parts.port or 5432}
    return {**options, **address, "ssl_context": _tls(query)}


def message_of(error: "DatabaseError") -> str:
    """The server's own sentence."""
    return str(_facts(error).get("M", error)).rstrip(".")


def code_of(error: "DatabaseError") -> str:
    """The five characters of SQLSTATE; empty when there are none."""
    return str(_facts(error).get("C", ""))


def _tls(query: dict[str, str]) -> ssl.SSLContext | bool | None:
    """As pg8000 wants it: False is without, None is where the server offers it."""
    mode = query.get("sslmode", "prefer")
    if mode not in TLS_MODES:
        raise OperatorError(f"database_url: sslmode is {mode!r}; write {', '.join(TLS_MODES)}.")
    by_mode: dict[str, Callable[[], ssl.SSLContext | bool | None]] = {
        "disable": lambda: False,
        "prefer": lambda: None,
        "require": lambda: True,
        "verify-full": lambda: ssl.create_default_context(cafile=query.get("sslrootcert")),
    }
    return by_mode[mode]()


@contextmanager
def _telling() -> Iterator[None]:
    """Tell a server that is away, or will not now, from a statement that is wrong."""
    from pg8000.exceptions import DatabaseError, InterfaceError

    try:
        yield
    except DatabaseError as error:
        if code_of(error) not in AWAY_CODES:
            raise
        reason = f"The database cannot do this now: {message_of(error)}."
        raise DatabaseAwayError(reason, retry_after_s=RETRY_AFTER_S) from error
    except (InterfaceError, OSError) as error:
        reason = "The database does not answer; it may be restarting."
        raise DatabaseAwayError(reason, retry_after_s=RETRY_AFTER_S) from error


def _facts(error: "DatabaseError") -> dict[str, Any]:
    first = error.args[0] if error.args else {}
    return first if isinstance(first, dict) else {}


def _rows(columns: Sequence[Any] | None, rows: Sequence[Any] | None) -> list[Row]:
    names = [column["name"] for column in columns or ()]
    return [dict(zip(names, row, strict=True)) for row in rows or ()]
