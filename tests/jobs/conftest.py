"""A store on each engine, on a clock that moves only when told."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest

from rotoscope.jobs.job import Job, Lease, State
from rotoscope.jobs.postgres import PostgresJobStore
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import JobStore, NewJob
from rotoscope.postgres import Postgres
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Failure, Manifest, Media, Outcome
from tests.postgres import Server

LEASE_S = 60.0
RETENTION_S = 7 * 24 * 3600.0
ASKED = VideoToVideoInput(prompt="a red bicycle", video_url="https://example.org/a.mp4", loras=())

FAKE_EPOCH = """
CREATE TABLE fake_clock (now double precision NOT NULL);
INSERT INTO fake_clock VALUES (0);
CREATE FUNCTION epoch() RETURNS double precision LANGUAGE sql VOLATILE
  AS 'SELECT now FROM fake_clock';
"""


class Clock:
    """Seconds since 1970, as the database reads them."""

    def __init__(self, database: Postgres | None = None) -> None:
        self.now = 1_800_000_000.0
        self._database = database
        self.advance(0)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        if self._database:
            self._database.run("UPDATE fake_clock SET now = :now", now=self.now)


class OpenStore(Protocol):
    """Opens the store of a test; opened again, it is the same tables."""

    def __call__(
        self, *, max_attempts: int = 2, retention_s: float | None = RETENTION_S
    ) -> JobStore: ...


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def jobs_url(postgres_server: Server) -> str:
    """A database with the tables and a clock that stands still, for all tests of this process."""
    url = postgres_server.create_database()
    with closing(Postgres(url)) as pool, pool.session() as session:
        session.script(FAKE_EPOCH)
    PostgresJobStore(url, lease_s=LEASE_S, max_attempts=2).close()
    return url


@pytest.fixture
def emptied_url(jobs_url: str) -> str:
    with closing(Postgres(jobs_url)) as pool, pool.session() as session:
        session.script("TRUNCATE jobs, inputs, pools, deliveries, workers RESTART IDENTITY")
    return jobs_url


@pytest.fixture
def clock(engine: str, request: pytest.FixtureRequest) -> Iterator[Clock]:
    if engine == "sqlite":
        yield Clock()
        return
    with closing(Postgres(request.getfixturevalue("emptied_url"), most=1)) as pool:
        yield Clock(pool)


@pytest.fixture
def open_store(
    engine: str, clock: Clock, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[OpenStore]:
    """Closed when the test ends."""
    with ExitStack() as stack:

        def open_one(*, max_attempts: int = 2, retention_s: float | None = RETENTION_S) -> JobStore:
            rules = {"lease_s": LEASE_S, "max_attempts": max_attempts, "retention_s": retention_s}
            store: JobStore = (
                open_sqlite(tmp_path / "data", clock, **rules)
                if engine == "sqlite"
                else PostgresJobStore(request.getfixturevalue("emptied_url"), **rules)
            )
            return stack.enter_context(closing(store))

        yield open_one


@pytest.fixture
def store(open_store: OpenStore) -> JobStore:
    return open_store()


def open_sqlite(folder: Path, clock: Callable[[], float], **rules: float | None) -> SqliteJobStore:
    """Without waiting for the disk: what is on it after a crash has tests of its own."""
    store = SqliteJobStore(folder, clock=clock, **rules)  # type: ignore[arg-type]
    store.database.writer.execute("PRAGMA synchronous = OFF")
    return store


def submit(store: JobStore, key_id: str = "k", **more: object) -> Job:
    """A job of this key."""
    asked = {"model_id": "m", "key_id": key_id, "input": ASKED, **more}
    return store.submit(NewJob(**asked)).job  # type: ignore[arg-type]


def claim(store: JobStore, **more: object) -> Lease:
    """The next job; there must be one."""
    lease = store.claim("worker-1", **more)  # type: ignore[arg-type]
    assert lease is not None
    return lease


def found(store: JobStore, job_id: str) -> Job:
    job = store.get(job_id)
    assert job is not None
    return job


def state_of(store: JobStore, job_id: str) -> State:
    return found(store, job_id).state


@pytest.fixture
def asked() -> VideoToVideoInput:
    return ASKED


@pytest.fixture
def outcome() -> Outcome:
    return make_outcome()


@pytest.fixture
def failure() -> Failure:
    return FAILURE


FAILURE = Failure(code="internal_error", message="It broke.", retryable=True)


def make_outcome() -> Outcome:
    media = Media(
        content_type="video/mp4",
        size=10,
        width=64,
        height=64,
        fps="25",
        frames=9,
        duration_s=0.36,
        audio=False,
    )
    manifest = Manifest(
        model_id="m",
        checkpoint="mini",
        prompt="a red bicycle",
        negative_prompt="",
        seed=0,
        width=64,
        height=64,
        frames=9,
        fps="25",
        steps=8,
        guidance_scale=3.0,
        multiscale=False,
        audio=False,
        video_strength=1.0,
        source_sha256="0" * 64,
        image_sha256=None,
        loras=[],
        versions={"rotoscope": "0.1.0"},
    )
    return Outcome(
        file="outputs/x/1-0/out.mp4", media=media, metrics={"denoise": 1.5}, manifest=manifest
    )
