"""The job table in PostgreSQL (13 or newer), for any number of servers at the same time."""

from collections.abc import Callable, Sequence
from functools import partial

from rotoscope.jobs.database import Answer, Run
from rotoscope.jobs.rows import Row
from rotoscope.jobs.statements import POSTGRES, check_version, statements
from rotoscope.jobs.table import WEEK_S, JobTable
from rotoscope.postgres import EPOCH, MOST_CONNECTIONS, SCHEMA_LOCK, Postgres, Session

SQL = statements(POSTGRES)


class PostgresJobStore(JobTable):
    """Opens the tables of a database, and makes them where there are none.

    Raises:
        DatabaseAwayError: The database does not answer.
        OperatorError: It refuses, or a newer Rotoscope has changed its tables.
    """

    def __init__(  # noqa: PLR0913 - one setting each
        self,
        url: str,
        *,
        lease_s: float,
        max_attempts: int,
        retention_s: float | None = WEEK_S,
        default_limit: int | None = None,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self.database = PostgresDatabase(url, most_connections)
        super().__init__(
            self.database,
            lease_s=lease_s,
            max_attempts=max_attempts,
            retention_s=retention_s,
            default_limit=default_limit,
        )


class PostgresDatabase:
    """The pool; every statement is sent again while the server is away, for some seconds."""

    def __init__(self, url: str, most_connections: int) -> None:
        self.pool = Postgres(url, most=most_connections)
        try:
            self.pool.transact(_lay_out, again=True)
        except BaseException:
            self.pool.close()
            raise

    def close(self) -> None:
        self.pool.close()

    def read(self, statement: str, /, **values: object) -> Sequence[Row]:
        return self.pool.run(SQL[statement], again=True, **values)

    def write(self, statement: str, /, **values: object) -> Sequence[Row]:
        return self.pool.run(SQL[statement], again=True, **values)

    def transact(self, work: Callable[[Run], Answer], /) -> Answer:
        return self.pool.transact(lambda session: work(partial(_run, session)), again=True)


def _run(session: Session, statement: str, /, **values: object) -> Sequence[Row]:
    return session.run(SQL[statement], **values)


def _lay_out(session: Session) -> None:
    """Make the tables if they are missing, and check whose they are.

    Raises:
        OperatorError: They are of a newer version.
    """
    session.script(SCHEMA_LOCK)
    session.script(EPOCH)
    if session.run("SELECT to_regclass('schema_version') AS found")[0]["found"] is None:
        session.script(SQL["lay_out"])
    row = session.run("SELECT * FROM schema_version")[0]
    check_version("The database", row["version"], row["release"])
