"""What is PostgreSQL's own: several servers, lost answers, restarts, versions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier, Event

import pytest
from pg8000.exceptions import InterfaceError

from rotoscope.errors import DatabaseAwayError, OperatorError
from rotoscope.jobs.open import open_store
from rotoscope.jobs.postgres import PostgresJobStore
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import NewJob
from rotoscope.postgres import Postgres, Session
from rotoscope.settings import Settings
from tests.jobs.conftest import ASKED, FAILURE, LEASE_S, claim, found, submit
from tests.postgres import running


def open_here(url: str, lease_s: float = LEASE_S) -> PostgresJobStore:
    return PostgresJobStore(url, lease_s=lease_s, max_attempts=2)


@pytest.fixture
def store(emptied_url: str) -> Iterator[PostgresJobStore]:
    with closing(open_here(emptied_url)) as opened:
        yield opened


def test_the_settings_name_the_database(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a URL the jobs are there, without one in the data folder."""
    folder = tmp_path_factory.mktemp("data")
    with closing(open_store(Settings(data_dir=folder, database_url=postgres_url))) as store:
        assert isinstance(store, PostgresJobStore)
        assert found(store, submit(store).id).expires_at is None
    assert not list(folder.iterdir())
    with closing(open_store(Settings(data_dir=folder))) as store:
        assert isinstance(store, SqliteJobStore)


def test_servers_that_start_at_once_lay_out_the_tables_once(postgres_url: str) -> None:
    """Four open an empty database together, and share its jobs."""
    start = Barrier(4)

    def open_one(_: int) -> PostgresJobStore:
        start.wait()
        return open_here(postgres_url)

    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(open_one, range(4)))

    job = submit(stores[0])
    assert [store.get(job.id) for store in stores] == 4 * [job]
    assert claim(stores[1]).job.id == job.id
    assert stores[2].claim("w") is None
    for store in stores:
        store.close()


def test_tables_of_a_newer_version_are_refused(postgres_url: str) -> None:
    """With a sentence that names both versions; nothing is changed."""
    open_here(postgres_url).close()
    with closing(Postgres(postgres_url)) as pool:
        pool.run("UPDATE schema_version SET version = 99")

        with pytest.raises(OperatorError, match="schema version 99, this Rotoscope needs 2"):
            open_here(postgres_url)
        assert pool.run("SELECT version FROM schema_version") == [{"version": 99}]


def test_a_database_that_is_not_there_is_said_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once patience is over; the sentence does not hold the password."""
    monkeypatch.setattr("rotoscope.postgres.PATIENCE_S", 0.2)
    with pytest.raises(DatabaseAwayError, match="does not answer") as caught:
        open_here("postgresql://me:secret@127.0.0.1:1/jobs?sslmode=disable")
    assert "secret" not in str(caught.value)


def lose_answers(monkeypatch: pytest.MonkeyPatch, last: str) -> list[str]:
    """The next answer to `last` is lost: it was done, and the connection is gone."""
    script, lost = Session.script, [last]

    def losing(self: Session, sql: str) -> None:
        script(self, sql)
        if sql in lost:
            lost.remove(sql)
            self.connection.close()
            raise InterfaceError("network error")

    monkeypatch.setattr(Session, "script", losing)
    return lost


def test_a_lost_answer_makes_nothing_twice(
    store: PostgresJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a submit, a claim, an end: each is sent again, and finds what it did before."""
    lost = lose_answers(monkeypatch, "COMMIT")
    job = submit(store)
    assert (lost, store.waiting()) == ([], 1)
    other = submit(store)

    lost = lose_answers(monkeypatch, "COMMIT")
    lease = claim(store)
    assert (lost, lease.job.id, lease.job.attempt) == ([], job.id, 1)
    assert store.waiting() == 1

    lost = lose_answers(monkeypatch, "COMMIT")
    assert store.fail(job.id, lease.token, FAILURE)
    assert lost == []
    assert found(store, job.id).failure == FAILURE
    assert claim(store).job.id == other.id


def test_a_heartbeat_moves_no_index(store: PostgresJobStore) -> None:
    """PostgreSQL writes it into the same page: the table does not bloat under long jobs."""
    pool = store.database.pool
    submit(store)
    lease = claim(store)
    pool.run("SELECT pg_stat_force_next_flush()")
    pool.run("SELECT pg_stat_reset()")
    for _ in range(20):
        store.heartbeat(lease.job.id, lease.token)

    # Sessions report on their own after a while, or when they end.
    pool.run("SELECT pg_stat_force_next_flush()")
    (row,) = pool.run("SELECT n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'jobs'")
    assert row["hot"] >= 18


def test_a_restart_of_the_database_loses_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in full flight: what was acknowledged is there once, and the store goes on by itself.

    No lease is held against its worker for the time that the database was away.
    """
    monkeypatch.setattr("rotoscope.postgres.PATIENCE_S", 100.0)
    acknowledged: list[str] = []
    enough, over = Event(), Event()
    with (
        running({"fsync": "off"}) as server,
        closing(open_here(server.create_database(), lease_s=0.5)) as store,
        ThreadPoolExecutor(3) as pool,
    ):
        held = submit(store)
        lease = claim(store)

        def send() -> None:
            while not over.is_set():
                acknowledged.append(
                    store.submit(NewJob(model_id="m", key_id="k", input=ASKED)).job.id
                )
                if len(acknowledged) >= 30:
                    enough.set()

        senders = [pool.submit(send) for _ in range(3)]
        assert enough.wait(60)
        before = len(acknowledged)
        server.kill()
        server.start()
        assert store.reap() == []
        while len(acknowledged) < before + 30:
            assert not any(sender.done() for sender in senders)
            Event().wait(0.02)
        over.set()
        for sender in senders:
            sender.result(60)
        assert store.fail(held.id, lease.token, FAILURE)
        assert len(set(acknowledged)) == len(acknowledged)
        assert store.job_exists(acknowledged) == set(acknowledged)
        assert store.waiting() == len(acknowledged)
