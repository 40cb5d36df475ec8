"""A real server and real workers as processes of their own, to be killed and started again.

Workers come from a fork server that has loaded everything once, so that a new one takes
milliseconds; their model is the stand-in, which waits at a gate when a prompt says so.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event

from rotoscope.client import Client
from rotoscope.schema.output import Status
from rotoscope.settings import Settings
from rotoscope.worker.loop import work
from rotoscope.worker.stop import Stop
from tests.worker.stand_in_model import StandIn

KEY = "a-worker-key-of-this-test"
LEASE_S = 3.0
"""Longer than a busy machine keeps a worker from beating; tests that kill one wait for its end."""
ROTOSCOPE = (sys.executable, "-m", "rotoscope")

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["rotoscope.worker.loop"])


def run_worker(settings: dict[str, str], temporary: str, gate: str) -> None:
    """The body of a worker process."""
    tempfile.tempdir = temporary
    stop = Stop()
    stop.listen(tied=False)
    work(Settings(**settings), lambda _: StandIn(Path(gate)), stop)


class Site:
    """One data folder, one address, and the processes that are there right now."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.gate = folder / "gate"
        self.url = "http://127.0.0.1:0"
        self._server: subprocess.Popen[str] | None = None
        self._workers: list[BaseProcess] = []

    def start_server(self) -> None:
        settings = {
            "DATA_DIR": str(self.data),
            "PORT": self.url.rpartition(":")[2],
            "ANONYMOUS": "true",
            "WORKER_KEY": KEY,
            "LEASE_S": str(LEASE_S),
            "HEARTBEAT_S": "0.3",
        }
        environment = {f"ROTOSCOPE_{name}": value for name, value in settings.items()}
        self._server = subprocess.Popen(
            [*ROTOSCOPE, "serve"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout
        self.url = self._server.stdout.readline().strip()
        assert self.url

    def start_worker(self) -> BaseProcess:
        settings = {"server_url": self.url, "worker_key": KEY, "data_dir": str(self.data)}
        worker = forked.Process(
            target=run_worker, args=(settings, str(self.temporary), str(self.gate))
        )
        worker.start()
        self._workers.append(worker)
        return worker

    def kill_server(self) -> None:
        """As a power cut would."""
        assert self._server
        assert self._server.stdout
        self._server.kill()
        self._server.wait()
        self._server.stdout.close()

    def kill_worker(self) -> None:
        worker = self._workers.pop()
        worker.kill()
        worker.join()

    def end(self) -> None:
        """Tell all to end, as an operator would, and see that they do."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join(20)
            assert worker.exitcode == 0
        if self._server and self._server.poll() is None:
            self._server.terminate()
            assert self._server.wait(20) == 0
            assert self._server.stdout
            self._server.stdout.close()

    def kill(self) -> None:
        for worker in self._workers:
            worker.kill()
        if self._server and self._server.poll() is None:
            self.kill_server()

    def open_gate(self) -> None:
        self.gate.touch()

    def client(self) -> Client:
        return Client(self.url)

    def stored_videos(self, request_id: str) -> list[Path]:
        return sorted((self.data / "outputs" / request_id).rglob("*.mp4"))

    def leftovers(self) -> list[Path]:
        """What lies in the workers' temporary folder."""
        return sorted(self.temporary.iterdir())


@contextmanager
def opened(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    try:
        site.start_server()
        yield site
        site.end()
    finally:
        site.kill()


def await_status(client: Client, request_id: str, reached: Callable[[Status], bool]) -> Status:
    """Ask until the answer is as wanted; how long may pass is the test's timeout."""
    while True:
        status = client.status(request_id)
        if reached(status):
            return status
        assert status.status in ("in_queue", "in_progress")
        Event().wait(0.02)


def await_stage(client: Client, request_id: str, stage: str) -> Status:
    return await_status(
        client,
        request_id,
        lambda status: status.progress is not None and status.progress.stage == stage,
    )
