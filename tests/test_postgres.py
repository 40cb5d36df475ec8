"""The pool: connections come and go, what is asked of it stays right."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from rotoscope.errors import DatabaseAwayError, OperatorError
from rotoscope.postgres import Postgres, Session, connect_options

# Of every other connection to this database.
CUT = (
    "SELECT count(pg_terminate_backend(pid)) AS cut FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def pool(postgres_url: str) -> Iterator[Postgres]:
    with closing(Postgres(postgres_url, most=3)) as made:
        made.run("CREATE TABLE things (id integer PRIMARY KEY)")
        yield made


def cut_all(url: str) -> None:
    with closing(Postgres(url)) as other:
        assert other.run(CUT)[0]["cut"] > 0


def test_a_lost_connection_is_told_and_replaced(pool: Postgres, postgres_url: str) -> None:
    """What must not be sent twice is told; the next statement has a new connection."""
    cut_all(postgres_url)
    with pytest.raises(DatabaseAwayError):
        pool.run("INSERT INTO things VALUES (1)")
    pool.run("INSERT INTO things VALUES (2)")
    assert pool.run("SELECT id FROM things") == [{"id": 2}]


def test_what_may_be_repeated_is_repeated(pool: Postgres, postgres_url: str) -> None:
    """A lost connection is not even seen."""
    cut_all(postgres_url)
    assert pool.run("SELECT 1 AS one", again=True) == [{"one": 1}]


def test_tables_may_change_under_a_prepared_statement(pool: Postgres, postgres_url: str) -> None:
    """As they do while a newer release is rolled out."""
    assert pool.run("SELECT * FROM things WHERE id > :id", again=True, id=0) == []
    with closing(Postgres(postgres_url)) as newer:
        newer.run("ALTER TABLE things ADD COLUMN name text NOT NULL DEFAULT 'none'")
        newer.run("INSERT INTO things (id) VALUES (1)")
    found = pool.run("SELECT * FROM things WHERE id > :id", again=True, id=0)
    assert found == [{"id": 1, "name": "none"}]


def test_a_transaction_is_all_or_nothing(pool: Postgres) -> None:
    """An exception in the middle takes everything back, and the connection can be used again."""

    def insert_and_break(session: Session) -> None:
        session.run("INSERT INTO things VALUES (:id)", id=1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pool.transact(insert_and_break)
    assert pool.run("SELECT id FROM things") == []
    with pool.transaction() as session:
        session.run("INSERT INTO things VALUES (:id)", id=1)
    assert pool.run("SELECT id FROM things") == [{"id": 1}]


def test_more_threads_than_connections_wait(pool: Postgres) -> None:
    """Nobody is refused, and the server never sees more than the pool may have."""
    count = (
        "SELECT count(*) AS open, pg_sleep(0.02)::text AS slept FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'rotoscope'"
    )
    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _: pool.run(count)[0]["open"], range(24)))
    assert len(seen) == 24
    assert 1 <= max(seen) <= 3


def test_the_url_names_all_of_it() -> None:
    """Escaped names, a socket's folder, and how the connection is encrypted."""
    options = connect_options("postgresql://a%40b:p%2Fw@db.example:6543/jobs?sslmode=disable")
    assert (options["user"], options["password"], options["database"]) == ("a@b", "p/w", "jobs")
    assert (options["host"], options["port"]) == ("db.example", 6543)
    assert options["ssl_context"] is False
    assert connect_options("postgresql://a@h/jobs?sslmode=require")["ssl_context"] is True
    verified = connect_options("postgresql://a@h/jobs?sslmode=verify-full")["ssl_context"]
    assert verified.check_hostname
    socket = connect_options("postgresql://a@/jobs?host=/run/postgresql")
    assert socket["unix_sock"] == "/run/postgresql/.s.PGSQL.5432"


def test_a_wrong_sslmode_is_told() -> None:
    """With those that there are."""
    with pytest.raises(OperatorError, match=r"sslmode is 'yes'; write disable, prefer"):
        connect_options("postgresql://a@h/jobs?sslmode=yes")


def test_an_encrypted_connection_that_the_server_has_not_is_told(postgres_url: str) -> None:
    """A required one is never quietly left out."""
    required = postgres_url.replace("sslmode=disable", "sslmode=require")
    with closing(Postgres(required)) as pool, pytest.raises(DatabaseAwayError):
        pool.run("SELECT 1 AS one")
