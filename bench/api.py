"""The API alone: how fast it takes jobs and tells their state, with no worker.

    python -m bench.api

Starts a real server on loopback, on a folder that is removed afterwards; every submit is on disk
before it is answered. Bounded by count and by time, about half a minute in all.
"""

import http.client
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import quantiles
from tempfile import TemporaryDirectory
from threading import local
from urllib.parse import urlsplit

from bench.scene import scene
from rotoscope.schema.input import MODEL_ID

MOST_CALLS = 3000
MOST_SECONDS = 5.0
WARM_UP_CALLS = 50
CLIENTS = (1, 8)

SERVER = """
import sys
from pathlib import Path
from rotoscope import telemetry
from rotoscope.settings import Settings
from rotoscope.web.server import serve

telemetry.configure()
serve(
    Settings(data_dir=Path(sys.argv[1]), port=0, anonymous=True, max_queue=1_000_000),
    ready=lambda url: print(url, flush=True),
)
"""
BODY = json.dumps(
    {"prompt": "a red bicycle", "video_url": "https://example.org/a.mp4", "loras": []}
)

Call = Callable[[], None]


@contextmanager
def server() -> Iterator[str]:
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(30)


class Caller:
    """One kept-alive connection per thread."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._own = local()
        self.last_id = ""

    def submit(self) -> None:
        answer = self._ask("POST", f"/v1/models/{MODEL_ID}", BODY)
        self.last_id = json.loads(answer)["request_id"]

    def status(self) -> None:
        self._ask("GET", f"/v1/requests/{self.last_id}/status")

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(self._address, timeout=30)
        connection: http.client.HTTPConnection = self._own.connection
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == http.client.OK, content
        return content


def timed(call: Call, end: float, most: int) -> list[float]:
    """Seconds of each call, one after the other."""
    took: list[float] = []
    while len(took) < most and (start := time.perf_counter()) < end:
        call()
        took.append(time.perf_counter() - start)
    return took


def measure(call: Call, clients: int) -> str:
    """One row of the table."""
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: call(), range(WARM_UP_CALLS)))
        start = time.perf_counter()
        end = start + MOST_SECONDS
        runs = [pool.submit(timed, call, end, MOST_CALLS // clients) for _ in range(clients)]
        took = [seconds for run in runs for seconds in run.result()]
        wall = time.perf_counter() - start
    cuts = quantiles(took, n=100)
    return f"{len(took) / wall:12.0f} {cuts[49] * 1000:8.1f} {cuts[98] * 1000:8.1f} {len(took):7d}"


def main() -> None:
    print(scene(("fastapi", "uvicorn", "pydantic"), sqlite=sqlite3.sqlite_version))
    print("one server process; clients on the same machine, one kept-alive connection each\n")
    print(f"{'call':8s} {'clients':>7s} {'per second':>12s} {'p50 ms':>8s} {'p99 ms':>8s}   calls")
    with server() as url:
        caller = Caller(url)
        for name, call in (("submit", caller.submit), ("status", caller.status)):
            for clients in CLIENTS:
                print(f"{name:8s} {clients:7d} {measure(call, clients)}", flush=True)


if __name__ == "__main__":
    main()
