"""A whole cluster on one machine: two API processes behind a round robin, workers, stores.

    make cluster                     # or python -m tests.journey.cluster --workers 3

PostgreSQL and the S3 server are real ones, from the wheels of the dev dependencies. Nothing is
shared but what a cluster shares: each API process has a data folder of its own, workers know the
balancer's address alone. Started by hand, workers open the checkpoint `mini`, and all of it runs
until Ctrl-C; the tests put a stand-in in the model's place.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM, sigwait
from urllib.parse import urlsplit

from rotoscope.keys import KeyStore
from tests import postgres
from tests.faults.proxy import Proxy
from tests.seaweed import s3_server

API_PROCESSES = 2
END_S = 60
ROTOSCOPE = (sys.executable, "-m", "rotoscope")

StartWorker = Callable[["Cluster", int], Callable[[], None]]
"""Starts the worker of this number, and answers what ends it."""


class Cluster:
    """What is there; `url` is the balancer's."""

    def __init__(self, folder: Path, database_url: str, storage: dict[str, str]) -> None:
        self.folder = folder
        self.database_url = database_url
        self.worker_key = secrets.token_urlsafe(32)
        self._storage = storage
        self._apis: list[subprocess.Popen[str]] = []
        self.api_urls: list[str] = []

    def start_api(self) -> None:
        number = len(self._apis)
        settings = {
            "DATA_DIR": str(self.folder / f"api-{number}"),
            "DATABASE_URL": self.database_url,
            "PORT": "0",
            "WORKER_KEY": self.worker_key,
            "CONFIG": str(self.folder / "none.toml"),
            "LEASE_S": "10",
            "HEARTBEAT_S": "1",
        }
        own = {f"ROTOSCOPE_{name}": value for name, value in settings.items()}
        with (self.folder / f"api-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [*ROTOSCOPE, "serve"],
                env={**os.environ, **self._storage, **own},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout
        self._apis.append(process)
        url = process.stdout.readline().strip()
        assert url, (self.folder / f"api-{number}.log").read_text()[-2000:]
        self.api_urls.append(url)

    def kill_api(self, number: int) -> None:
        """As a power cut would."""
        process = self._apis[number]
        process.kill()
        process.wait()

    def create_key(self, name: str) -> str:
        with KeyStore(self.database_url) as keys:
            return keys.create(name).token

    def balance(self) -> Proxy:
        """The round robin before all API processes."""
        parts = [urlsplit(url) for url in self.api_urls]
        self._proxy = Proxy([(part.hostname or "", part.port or 0) for part in parts])
        return self._proxy

    @property
    def url(self) -> str:
        return self._proxy.url

    def end(self) -> None:
        for process in self._apis:
            if process.poll() is None:
                process.terminate()
        for process in self._apis:
            process.wait(END_S)
            if process.stdout:
                process.stdout.close()


@contextmanager
def cluster(folder: Path, start_worker: StartWorker, workers: int = 3) -> Iterator[Cluster]:
    """All of it, below `folder`, ended in order."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres.running())
        store = stack.enter_context(s3_server(folder / "s3"))
        storage = {**store.environment, "ROTOSCOPE_STORAGE_URL": store.url}
        made = Cluster(folder, database.url(), storage)
        stack.callback(made.end)
        for _ in range(API_PROCESSES):
            made.start_api()
        stack.callback(made.balance().close)
        for number in range(workers):
            stack.callback(start_worker(made, number))
        yield made


def real_worker(made: Cluster, number: int) -> Callable[[], None]:
    """`rotoscope work` with the checkpoint of the settings."""
    settings = {
        "ROTOSCOPE_SERVER_URL": made.url,
        "ROTOSCOPE_WORKER_KEY": made.worker_key,
        "ROTOSCOPE_DATA_DIR": str(made.folder / "workers"),
    }
    log = (made.folder / f"worker-{number}.log").open("wb")
    process = subprocess.Popen([*ROTOSCOPE, "work"], env={**os.environ, **settings}, stderr=log)

    def end() -> None:
        process.terminate()
        process.wait(END_S)
        log.close()

    return end


def main() -> None:
    parser = argparse.ArgumentParser(description="A cluster on this machine, until Ctrl-C.")
    parser.add_argument("--workers", type=int, default=3)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="rotoscope-cluster-") as folder,
        cluster(Path(folder), real_worker, asked.workers) as made,
    ):
        sys.stdout.write(
            f"export ROTOSCOPE_SERVER={made.url} ROTOSCOPE_KEY={made.create_key('me')}\n"
            f"# {' and '.join(made.api_urls)} stand behind it; logs are in {folder}\n"
        )
        sys.stdout.flush()
        sigwait({SIGINT, SIGTERM})


if __name__ == "__main__":
    main()
