"""A server process behind TLS, and a worker that a test plays by hand."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx2

from rotoscope.keys import KeyStore
from tests.clients.tls import Terminator, tls_port
from tests.web.conftest import MANIFEST, MEDIA

ROTOSCOPE = (sys.executable, "-m", "rotoscope")
STAGES = ["fetch", "denoise", "encode"]
FAILURE = {
    "code": "file_download_error",
    "message": "There is no such file.",
    "field": "video_url",
    "retryable": False,
}


@dataclass(frozen=True)
class Host:
    url: str
    """Plain HTTP, on loopback."""
    tls: Terminator
    key: str
    worker_key: str

    @property
    def https(self) -> str:
        return f"https://{self.tls.host}"

    def http(self, key: str | None = None) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60)

    def environment(self, **own: str) -> dict[str, str]:
        """For a client's process: it trusts the certificate of this test."""
        ca = str(self.tls.ca_file)
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return {**os.environ, **dict.fromkeys(names, ca), **own}

    def state(self, request_id: str) -> str:
        with self.http() as http:
            status: str = http.get(f"/v1/requests/{request_id}/result").json()["status"]
            return status


@contextmanager
def hosted(folder: Path) -> Iterator[Host]:
    """`rotoscope serve` on a folder of its own, until the end of the block."""
    with KeyStore(folder) as keys:
        key, worker_key = keys.create("me").token, keys.create("gpu", "worker").token
    with tls_port(folder) as tls:
        own = {"ROTOSCOPE_DATA_DIR": str(folder), "ROTOSCOPE_PUBLIC_URL": f"https://{tls.host}"}
        with subprocess.Popen(
            [*ROTOSCOPE, "serve", "--port", "0"],
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            url = process.stdout.readline().strip()
            tls.to = int(url.rpartition(":")[2])
            try:
                yield Host(url, tls, key, worker_key)
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)


class Worker:
    """Takes every job and ends it as told: well, with `content` as its file, or badly."""

    def __init__(
        self, host: Host, content: bytes = b"0123456789", media: Any = None, steps: int = 2
    ) -> None:
        self._http = host.http(host.worker_key)
        self._content = content
        self._media = MEDIA | {"size": len(content)} | (media or {})
        self._end = Event()
        self._steps = steps
        self.failing = False
        self.stopped: list[str] = []
        self.inputs: list[dict[str, Any]] = []

    def run(self) -> None:
        with self._http:
            while not self._end.is_set():
                answer = self._http.post(
                    "/v1/worker/claim", json={"worker_id": "by-hand", "wait_s": 0.2}
                )
                if answer.status_code == 200:
                    self._work(answer.json())

    def end(self) -> None:
        self._end.set()

    def _work(self, job: dict[str, Any]) -> None:
        self.inputs.append(job["input"])
        for step in range(1, self._steps + 1):
            progress = _progress(min(step, 2))
            if self._tell(job, "heartbeat", progress=progress).get("cancelling"):
                self._tell(job, "stop")
                self.stopped.append(job["request_id"])
                return
            # Long enough that whoever looks twice a second sees it.
            self._end.wait(0.6)
        if self.failing:
            self._tell(job, "fail", error=FAILURE)
            return
        path = f"/v1/worker/jobs/{job['request_id']}/files/out.mp4"
        headers = {"Lease-Token": job["token"]}
        key = self._http.put(path, content=self._content, headers=headers).json()["key"]
        manifest = MANIFEST | {"prompt": job["input"]["prompt"], "seed": job["input"]["seed"]}
        facts = {"media": self._media, "metrics": {"denoise": 1.5}, "manifest": manifest}
        self._tell(job, "succeed", file=key, **facts)

    def _tell(self, job: dict[str, Any], verb: str, **fields: object) -> dict[str, Any]:
        path = f"/v1/worker/jobs/{job['request_id']}/{verb}"
        answer = self._http.post(path, json={"token": job["token"]} | fields)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else {}


@contextmanager
def working(host: Host, **how: Any) -> Iterator[Worker]:
    """A worker in a thread, for as long as the block."""
    worker = Worker(host, **how)
    thread = Thread(target=worker.run, name="worker")
    thread.start()
    try:
        yield worker
    finally:
        worker.end()
        thread.join(60)


def _progress(step: int) -> dict[str, Any]:
    return {
        "stage": "denoise",
        "stages": STAGES,
        "step": step,
        "steps": 2,
        "fraction": step / 3,
        "eta_s": 1.0,
    }


def run_script(*command: str, env: dict[str, str], cwd: Path | None = None) -> str:
    """What a client's process prints; it must end well."""
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, env=env, cwd=cwd, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    raise AssertionError(f"{command[0]} did not end")
