"""`rotoscope migrate`: tables where there are none, and a laptop's jobs and keys in PostgreSQL."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from rotoscope.jobs.job import State
from rotoscope.jobs.postgres import PostgresJobStore
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import Beat, Idempotency, JobStore, NewJob, Webhook
from rotoscope.keys import KeyStore, Limits
from rotoscope.postgres import Postgres
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Failure
from rotoscope.web.signing import KeyFile, KeyTable, SigningKey

Rotoscope = Callable[..., Result]

ASKED = VideoToVideoInput(
    prompt="a red bicycle", video_url="https://example.org/a.mp4", loras=(), seed=7
)
FAILURE = Failure(code="internal_error", message="It broke.", retryable=True)


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and no settings from outside."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    monkeypatch.setenv("ROTOSCOPE_DATA_DIR", str(tmp_path / "server"))
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    return folder


@pytest.fixture
def rotoscope(laptop: Path) -> Rotoscope:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})

    return run


@pytest.fixture
def database(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database that the settings name."""
    monkeypatch.setenv("ROTOSCOPE_DATABASE_URL", postgres_url)
    return postgres_url


def open_folder(folder: Path) -> SqliteJobStore:
    return SqliteJobStore(folder, lease_s=60, max_attempts=2)


def open_database(url: str) -> PostgresJobStore:
    return PostgresJobStore(url, lease_s=60, max_attempts=2)


def submit(store: JobStore, key_id: str = "me", **more: object) -> str:
    new = NewJob(model_id="m", key_id=key_id, input=ASKED, **more)  # type: ignore[arg-type]
    return store.submit(new).job.id


def test_tables_are_made_where_there_are_none(rotoscope: Rotoscope, database: str) -> None:
    """Once or again; what is in them stays."""
    assert rotoscope("migrate").exit_code == 0
    with closing(open_database(database)) as store:
        job_id = submit(store)
    again = rotoscope("migrate")
    assert "ready, at schema version" in again.stdout
    with closing(open_database(database)) as store:
        assert store.get(job_id) is not None


def test_jobs_move_in_every_state(rotoscope: Rotoscope, laptop: Path, database: str) -> None:
    """As they are: order, outcome, lease and webhook go with them; a second time nothing moves."""
    with closing(open_folder(laptop)) as folder:
        failed = submit(folder, webhook=Webhook("https://example.org/hook"))
        lease = folder.claim("w")
        assert lease
        assert folder.fail(failed, lease.token, FAILURE)
        cancelled, running = submit(folder), submit(folder)
        folder.cancel(cancelled)
        held = folder.claim("w")
        assert held
        assert held.job.id == running
        queued = [submit(folder, idempotency=Idempotency(f"{n}", "f")) for n in range(3)]
        before = {one: folder.get(one) for one in (failed, cancelled, *queued)}

    moved = rotoscope("migrate", "--from", str(laptop))
    assert moved.exit_code == 0, moved.output
    assert "6 jobs moved; 0 were there already" in moved.stdout

    with closing(open_database(database)) as store:
        for job_id, job in before.items():
            after = store.get(job_id)
            assert job
            assert after
            assert after == type(job)(
                **{name: getattr(job, name) for name in job.__slots__ if name != "seq"},
                seq=after.seq,
            )
        assert [one.event for one in store.deliveries(failed)] == ["request.failed"]
        assert [one.url for one in store.deliveries(failed)] == ["https://example.org/hook"]
        assert store.heartbeat(running, held.token) is Beat.HELD, "its worker may go on"
        taken = [store.claim("w2") for _ in range(3)]
        assert [one.job.id for one in taken if one] == queued
        assert all(one.input == ASKED for one in taken if one)

    again = rotoscope("migrate", "--from", str(laptop))
    assert "0 jobs moved; 6 were there already" in again.stdout
    assert not (laptop / "jobs.sqlite").exists(), "no server runs them a second time"


def test_keys_and_limits_move(rotoscope: Rotoscope, laptop: Path, database: str) -> None:
    """Tokens go on working, and revoked ones stay revoked."""
    with KeyStore(laptop) as folder:
        made, ended = folder.create("ann"), folder.create("bob")
        folder.revoke(ended.key.id)
        folder.set_limits(made.key.owner, Limits(max_running=2))
    open_folder(laptop).close()
    assert "2 keys moved" in rotoscope("migrate", "--from", str(laptop)).stdout
    with KeyStore(database) as keys:
        assert keys.verify(made.token) == made.key
        assert keys.verify(ended.token) is None
        assert keys.limits(made.key.owner) == Limits(max_running=2)
        keys.revoke(made.key.id)
    assert "0 keys moved" in rotoscope("migrate", "--from", str(laptop)).stdout
    with KeyStore(database) as keys:
        assert keys.verify(made.token) is None


def test_receivers_go_on_knowing_the_signature(
    rotoscope: Rotoscope, laptop: Path, database: str
) -> None:
    """The folder's webhook keys are the database's, where it has none of its own."""
    open_folder(laptop).close()
    key = SigningKey.new(1_800_000_000.0)
    KeyFile(laptop).add(key, only_if_empty=True, drop_before=0)
    rotoscope("migrate", "--from", str(laptop))
    with closing(Postgres(database)) as pool:
        assert [one.id for one in KeyTable(pool).load()] == [key.id]


def test_a_folder_that_is_in_use_is_refused(
    rotoscope: Rotoscope, laptop: Path, database: str
) -> None:
    """A server that runs would go on with jobs that have moved."""
    with closing(open_folder(laptop)) as folder:
        job_id = submit(folder)
        refused = rotoscope("migrate", "--from", str(laptop))
        assert refused.exit_code == 1
        assert "Another Rotoscope server uses" in refused.stderr
        job = folder.get(job_id)
        assert job
        assert job.state is State.IN_QUEUE
    with closing(open_database(database)) as store:
        assert store.get(job_id) is None


def test_a_folder_without_jobs_is_told(rotoscope: Rotoscope, laptop: Path, database: str) -> None:
    """Most likely it is the wrong one."""
    refused = rotoscope("migrate", "--from", str(laptop))
    assert refused.exit_code == 1
    assert "has no jobs" in refused.stderr


def test_jobs_move_into_a_database_only(rotoscope: Rotoscope, laptop: Path) -> None:
    """Without one the command says which setting names it."""
    refused = rotoscope("migrate", "--from", str(laptop))
    assert refused.exit_code == 1
    assert "ROTOSCOPE_DATABASE_URL" in refused.stderr


def test_an_older_server_leaves_newer_tables_alone(rotoscope: Rotoscope, database: str) -> None:
    """It says so and ends; the tables are as they were."""
    rotoscope("migrate")
    with closing(Postgres(database)) as pool:
        pool.run("UPDATE schema_version SET version = version + 1")
        refused = rotoscope("migrate")
        assert refused.exit_code == 1
        assert "use Rotoscope 0.1.0 or newer" in refused.stderr
        version = pool.run("SELECT version FROM schema_version")[0]["version"]
    assert f"schema version {version}" in refused.stderr
