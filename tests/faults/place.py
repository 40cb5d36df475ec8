"""A server, its database, its workers and the wire between them, each of which can be broken."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import psutil

from rotoscope.keys import KeyStore
from tests import postgres
from tests.faults.clock import Offset
from tests.faults.proxy import Proxy
from tests.faults.receiver import Receiver
from tests.faults.workers import start_worker

Engine = Literal["sqlite", "postgres"]

ROOT = Path(__file__).parent.parent.parent
WORKER_KEY = "a-worker-key-of-this-test"
MAX_ATTEMPTS = 3
LEASE_S = 2.0
HEARTBEAT_S = 0.4
DISK = "48m"


class Place:
    """All of one installation, on loopback, below one folder."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        *,
        lease_s: float = LEASE_S,
        mutants: Sequence[str] = (),
        small_disk: bool = False,
    ) -> None:
        self.lease_s = lease_s
        self.engine = engine
        self.data = folder / "data"
        self.data.mkdir()
        self.witness = folder / "witness"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.receiver = Receiver()
        self.server_clock = Offset(folder / "server-clock")
        self.worker_clock = Offset(folder / "worker-clock")
        self.workers: list[BaseProcess] = []
        self.url = "http://127.0.0.1:0"
        self._clocks = (folder / "server-clock", folder / "worker-clock")
        self._log = folder / "server.log"
        self._mutants = mutants
        self._server: subprocess.Popen[str] | None = None
        self._end = ExitStack()
        self._end.callback(self.receiver.close)
        self.disk_is_small = small_disk and self._mount()
        self.database = postgres.Server() if engine == "postgres" else None
        if self.database:
            self._end.callback(self.database.remove)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            end_worker(worker)
        if self._server and self._server.poll() is None:
            self.kill_server()
        if hasattr(self, "wire"):
            self.wire.close()
        self._end.close()

    def open(self, workers: int) -> None:
        """Start the server and its workers, which reach it through `wire` alone.

        Of several every other one overlaps jobs.
        """
        self.start_server()
        parts = urlsplit(self.url)
        self.wire = Proxy([(parts.hostname or "", parts.port or 0)])
        self._overlap = cycle([False, workers > 1])
        for _ in range(workers):
            self.add_worker()

    def create_keys(self, count: int) -> list[str]:
        with KeyStore(self.database.url() if self.database else self.data) as store:
            return [store.create(f"key {number}").token for number in range(count)]

    def start_server(self) -> None:
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.served", self._clocks[0], *self._mutants],
                env={**os.environ, **self._settings()},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._server.stdout
        self.url = self._server.stdout.readline().strip()
        assert self.url, self._log.read_text()[-2000:]

    def kill_server(self) -> None:
        """As a power cut would."""
        assert self._server
        assert self._server.stdout
        self._server.kill()
        self._server.wait()
        self._server.stdout.close()

    def server_runs(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def add_worker(self) -> None:
        places = (self.wire.url, WORKER_KEY, self.temporary, self.witness, self._clocks[1])
        self.workers.append(start_worker(*places, overlap=next(self._overlap)))

    def replace_worker(self, chance: random.Random) -> None:
        """Let one of them die by kill -9; another one comes."""
        end_worker(self.workers.pop(chance.randrange(len(self.workers))))
        self.add_worker()

    def fill_disk(self) -> None:
        """Leave not a byte free where the server keeps files."""
        with (self.data / "ballast").open("wb") as file, suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(64 * 1024))

    def free_disk(self) -> None:
        (self.data / "ballast").unlink(missing_ok=True)

    def stored(self, request_id: str) -> list[Path]:
        """The files of this job, wherever they came from."""
        folder = self.data / "outputs" / request_id
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def log(self) -> str:
        return self._log.read_text()

    def _settings(self) -> dict[str, str]:
        settings = {
            "DATA_DIR": str(self.data),
            "DATABASE_URL": self.database.url() if self.database else "",
            "PORT": str(urlsplit(self.url).port),
            "WORKER_KEY": WORKER_KEY,
            "LEASE_S": str(self.lease_s),
            "HEARTBEAT_S": str(HEARTBEAT_S),
            "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
            "WEBHOOK_PRIVATE_HOSTS": "127.0.0.1",
            "CONFIG": str(self.data / "none.toml"),
        }
        return {f"ROTOSCOPE_{name}": value for name, value in settings.items()}

    def _mount(self) -> bool:
        """Put the data folder on a small disk of its own; False where this is not allowed."""
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", self.data]
        with suppress(OSError):
            if subprocess.run(command, check=False, capture_output=True).returncode == 0:
                self._end.callback(
                    subprocess.run,
                    ["umount", "--lazy", self.data],
                    check=False,
                    capture_output=True,
                )
                return True
        return False


def end_worker(worker: BaseProcess) -> None:
    """At once, with whatever it started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    worker.join()


@contextmanager
def stopped(worker: BaseProcess) -> Iterator[None]:
    """A worker that hangs without dying."""
    assert worker.pid
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGCONT)
