"""The job table alone: submits and claims a second, and what a look costs, by the queue's length.

    python -m bench.queue [--sizes 0,10000,1000000] [--clients 1,8] [--seconds 3]
    python -m bench.queue --engines postgres --url postgresql://...   # an empty database

Through the store's own verbs, each change on disk before it is answered. SQLite's file lies in a
temporary folder, PostgreSQL is a server of its own from the test wheel unless --url names one.
Clients are threads of this process. A claim is followed by the job's end, which is not timed but
counts in the claims a second. Waiting jobs are spread over 50 keys.
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import TypeVar

from bench.scene import scene
from rotoscope.jobs.postgres import PostgresJobStore
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import NewJob
from rotoscope.postgres import Postgres
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Failure
from tests.postgres import running

Store = SqliteJobStore | PostgresJobStore
Answer = TypeVar("Answer")
KEYS = 50
LOOKS = 300
ASKED = VideoToVideoInput(prompt="a red bicycle", video_url="https://example.org/a.mp4", loras=())
FAILURE = Failure(code="internal_error", message="It broke.", retryable=True)
FILL_JOBS = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO jobs (id, pool, model_id, key_id, priority, fair_rank, affinity, max_attempts, warnings,
                  created_at)
SELECT 'filled-' || i, 'default', 'm', 'key-' || (i % {keys}), 0, i / {keys}, '', 2, '[]', epoch()
  FROM n
"""
FILL_INPUTS = "INSERT INTO inputs (job_id, body) SELECT id, :body FROM jobs"


class Clients:
    """What the threads of one cell do; each call answers the seconds that it took."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.last_id = ""
        self._numbers = iter(range(10**9))

    def submit(self) -> float | None:
        key = f"key-{next(self._numbers) % KEYS}"
        new = NewJob(model_id="m", key_id=key, input=ASKED)
        took, answer = timed(lambda: self._store.submit(new))
        self.last_id = answer.job.id
        return took

    def claim(self) -> float | None:
        """None when the queue is empty."""
        took, lease = timed(lambda: self._store.claim("w"))
        if lease is None:
            return None
        self._store.fail(lease.job.id, lease.token, FAILURE)
        return took

    def status(self) -> float | None:
        return timed(lambda: self._store.get(self.last_id))[0]

    def position(self) -> float | None:
        return timed(lambda: self._store.position(self.last_id))[0]


def timed(call: Callable[[], Answer]) -> tuple[float, Answer]:
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def main() -> None:
    options = read_options()
    print("| engine | queued | clients | submit /s | p50, p99 ms | claim /s | p50, p99 ms "
          "| status p50 ms | position p50 ms |\n|" + 9 * "---|", flush=True)  # fmt: skip
    facts = {}
    for engine in options.engines.split(","):
        for size in numbers(options.sizes):
            with opened(engine, options.url) as store:
                facts[engine] = version_of(store)
                fill(store, size)
                for clients in numbers(options.clients):
                    print(
                        f"| {engine} | {size:,} | {clients} {row(store, clients, options)}",
                        flush=True,
                    )
    print(scene(("pg8000",), seconds_a_cell=options.seconds, **facts))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The job table alone.")
    parser.add_argument("--engines", default="sqlite,postgres")
    parser.add_argument("--sizes", default="0,10000,1000000")
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--url")
    return parser.parse_args()


def numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",")]


@contextmanager
def opened(engine: str, url: str | None) -> Iterator[Store]:
    rules = {"lease_s": 600.0, "max_attempts": 2}
    if engine == "sqlite":
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(SqliteJobStore(Path(folder), **rules)) as store,
        ):
            yield store
    elif url:
        with closing(PostgresJobStore(url, **rules)) as store:
            yield store
    else:
        with running() as server, closing(PostgresJobStore(server.url(), **rules)) as store:
            yield store


def version_of(store: Store) -> str:
    if isinstance(store, SqliteJobStore):
        return sqlite3.sqlite_version
    return str(store.database.pool.run("SHOW server_version")[0]["server_version"])


def fill(store: Store, size: int) -> None:
    jobs, body = FILL_JOBS.format(rows=size, keys=KEYS), ASKED.model_dump_json()
    if size and isinstance(store, SqliteJobStore):
        with store.database.writer as writer:
            writer.execute(jobs)
            writer.execute(FILL_INPUTS, {"body": body})
    elif size:
        fill_postgres(store.database.pool, jobs, body)


def fill_postgres(pool: Postgres, jobs: str, body: str) -> None:
    with pool.session() as session:
        session.script("SET statement_timeout = 0")
        session.connection.sock_timeout = None
        session.script(jobs)
        session.run(FILL_INPUTS, body=body)
        session.script("VACUUM ANALYZE jobs")
        session.script("RESET statement_timeout")


def row(store: Store, clients: int, options: argparse.Namespace) -> str:
    """The cells after the first three."""
    work = Clients(store)
    cells = [rate(call, clients, options.seconds) for call in (work.submit, work.claim)]
    work.submit()
    looks = [[call() for _ in range(LOOKS)] for call in (work.status, work.position)]
    shown = [f"{1000 * quantiles([s for s in took if s], n=2)[0]:.2f}" for took in looks]
    return "| " + " | ".join((*cells, *shown)) + " |"


def rate(call: Callable[[], float | None], clients: int, seconds: float) -> str:
    """Calls a second of all clients together, and the two quantiles of one."""
    end = time.perf_counter() + seconds
    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        runs = [pool.submit(repeat, call, end) for _ in range(clients)]
        took = [one for run in runs for one in run.result()]
        wall = time.perf_counter() - start
    cuts = quantiles(took, n=100)
    return f"{len(took) / wall:,.0f} | {cuts[49] * 1000:.2f}, {cuts[98] * 1000:.1f}"


def repeat(call: Callable[[], float | None], end: float) -> list[float]:
    took: list[float] = []
    while time.perf_counter() < end and (one := call()) is not None:
        took.append(one)
    return took


if __name__ == "__main__":
    main()
