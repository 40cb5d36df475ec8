"""The real server in a process of its own: start, stop, restart, kill."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rotoscope.errors import OperatorError
from rotoscope.schema.input import MODEL_ID
from rotoscope.settings import Settings
from rotoscope.web.server import serve

SERVER = """
import sys
from pathlib import Path
from rotoscope import telemetry
from rotoscope.settings import Settings
from rotoscope.web.server import serve

def ready(url):
    heavy = {"torch", "diffusers", "transformers", "av", "numpy"} & set(sys.modules)
    print(url, *sorted(heavy), flush=True)

telemetry.configure()
settings = Settings(data_dir=Path(sys.argv[1]), port=0, anonymous=True, serve_drain_s=sys.argv[2])
serve(settings, worker_key="gpu", ready=ready)
print("closed", flush=True)
"""
WORKER = {"Authorization": "Bearer gpu", "Content-Type": "application/json"}
BODY = {"prompt": "a", "video_url": "https://example.org/a.mp4", "loras": []}


class Server:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.output = process.stdout
        self.url, *self.heavy = self.output.readline().split()

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | (headers or {}),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def submit(self) -> str:
        return str(self.call("POST", f"/v1/models/{MODEL_ID}", BODY)["request_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        return self.call("GET", f"/v1/requests/{job_id}/status")


@contextmanager
def started(data_dir: Path, drain_s: float = 0) -> Iterator[Server]:
    command = [sys.executable, "-c", SERVER, str(data_dir), str(drain_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def test_the_server_starts_light_and_stops_clean(tmp_path: Path) -> None:
    """No model or media library is loaded, and SIGTERM ends it by closing everything."""
    with started(tmp_path) as server:
        assert server.call("GET", "/healthz") == {"status": "ok"}
        server.process.send_signal(signal.SIGTERM)
        rest = server.output.read()
        assert server.process.wait(30) == 0

    assert server.heavy == []
    assert rest.splitlines()[-1] == "closed"
    assert not (tmp_path / "jobs.sqlite-wal").exists()


def test_a_server_can_drain_before_it_closes(tmp_path: Path) -> None:
    """It takes no new jobs and says that it is not ready, while what is there is still answered."""
    with started(tmp_path, drain_s=1000) as server:
        job_id = server.submit()
        server.process.send_signal(signal.SIGTERM)
        refused = None
        while refused is None:
            try:
                server.submit()
            except urllib.error.HTTPError as error:
                refused = error
        assert refused.code == 503
        assert int(refused.headers["Retry-After"]) > 0
        refused.close()
        with pytest.raises(urllib.error.HTTPError) as not_ready:
            server.call("GET", "/readyz?workers=0")
        assert not_ready.value.code == 503
        not_ready.value.close()
        assert server.status(job_id)["status"] == "in_queue"
        claim = {"worker_id": "w", "wait_s": 0}
        assert server.call("POST", "/v1/worker/claim", claim, WORKER)["request_id"] == job_id

        server.process.send_signal(signal.SIGTERM)
        assert server.output.read().splitlines()[-1] == "closed"
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_restart_loses_no_job(tmp_path: Path, ending: signal.Signals) -> None:
    """Whether told to end or killed, the next server has every job that was answered."""
    with started(tmp_path) as server:
        ids = [server.submit() for _ in range(5)]
        server.process.send_signal(ending)
        server.process.wait(30)

    with started(tmp_path) as server:
        places = [server.status(job_id)["queue_position"] for job_id in ids]
    assert places == [1, 2, 3, 4, 5]


def test_a_worker_that_hangs_up_takes_no_job(tmp_path: Path) -> None:
    """A claim whose connection is gone gives its job back, the attempt not counted."""
    claim = json.dumps({"worker_id": "gone", "wait_s": 60})
    with started(tmp_path) as server:
        for _ in range(5):
            gone = http.client.HTTPConnection(urlsplit(server.url).netloc)
            gone.request("POST", "/v1/worker/claim", claim, WORKER)
            gone.close()
        job_id = server.submit()
        here = {"worker_id": "here", "wait_s": 60}
        job = server.call("POST", "/v1/worker/claim", here, WORKER)

    assert (job["request_id"], job["attempt"]) == (job_id, 1)


def test_a_taken_port_is_the_operators_to_mend(tmp_path: Path) -> None:
    """The sentence names the address and what to change."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OperatorError, match=f"Cannot listen on 127.0.0.1 port {port}: "):
            serve(Settings(data_dir=tmp_path, port=port))


def test_no_key_no_listening_elsewhere(tmp_path: Path) -> None:
    """Before it listens for others, the server wants a key to exist."""
    with pytest.raises(OperatorError, match="make a client key first"):
        serve(Settings(data_dir=tmp_path, host="0.0.0.0", port=0))


def test_a_used_folder_is_the_operators_to_mend(tmp_path: Path) -> None:
    """A second server on the same folder ends with a sentence, the first goes on."""
    with started(tmp_path) as server:
        with pytest.raises(OperatorError, match="Another Rotoscope server"):
            serve(Settings(data_dir=tmp_path, port=0))
        assert server.call("GET", "/readyz?workers=0") == {"status": "ready", "workers": 0}
