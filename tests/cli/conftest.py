"""A real server process, a worker played by the test, and the command line against both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from tests.web.conftest import BODY, MANIFEST, MEDIA, SUBMIT
from tests.web.test_server import started

Rotoscope = Callable[..., Result]
WORKER = {"Authorization": "Bearer gpu"}
ERROR = {"code": "video_too_short", "message": "It has 1 frame.", "retryable": False}
PROGRESS = {
    "stage": "denoise",
    "stages": ["denoise", "encode"],
    "step": 3,
    "steps": 8,
    "fraction": 0.34,
    "eta_s": 12.4,
}


@dataclass(frozen=True)
class Site:
    """The server, as its callers and its worker reach it."""

    url: str
    http: httpx2.Client
    claimed: list[dict[str, Any]] = field(default_factory=list)

    def submit(self, **fields: object) -> str:
        return str(self._post(SUBMIT, BODY | fields).json()["request_id"])

    def claim(self) -> dict[str, Any]:
        """The job that waits longest, now running."""
        message = {"worker_id": "gpu-0", "wait_s": 0}
        found: dict[str, Any] = self._post("/v1/worker/claim", message).json()
        self.claimed.append(found)
        return found

    def tell(self, job: dict[str, Any], verb: str, **fields: object) -> None:
        self._post(f"/v1/worker/jobs/{job['request_id']}/{verb}", {"token": job["token"]} | fields)

    def report(self, job: dict[str, Any]) -> None:
        self.tell(job, "heartbeat", progress=PROGRESS)

    def fail(self, job: dict[str, Any]) -> None:
        self.tell(job, "fail", error=ERROR)

    def finish(self, job: dict[str, Any], content: bytes, **made: object) -> None:
        """End it well, with this file; `made` goes into its manifest."""
        answer = self.http.put(
            f"/v1/worker/jobs/{job['request_id']}/files/out.mp4",
            content=content,
            headers=WORKER | {"Lease-Token": job["token"]},
        )
        facts = {"media": MEDIA, "metrics": {"total": 1.5}, "manifest": MANIFEST | made}
        self.tell(job, "succeed", file=answer.raise_for_status().json()["key"], **facts)

    def _post(self, path: str, body: object) -> httpx2.Response:
        headers = WORKER if path.startswith("/v1/worker") else {}
        return self.http.post(path, json=body, headers=headers).raise_for_status()


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture
def site(server_url: str) -> Iterator[Site]:
    """The server with nothing queued, running or listed."""
    with httpx2.Client(base_url=server_url, timeout=60) as http:
        site = Site(server_url, http)
        yield site
        for job in site.claimed:
            # Refused for those that the test has ended.
            path = f"/v1/worker/jobs/{job['request_id']}/fail"
            http.post(path, json={"token": job["token"], "error": ERROR}, headers=WORKER)
        for job in http.get("/v1/requests", params={"limit": 1000}).json()["requests"]:
            http.post(f"/v1/requests/{job['request_id']}/cancel")
            http.delete(f"/v1/requests/{job['request_id']}")


@pytest.fixture
def rotoscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_url: str) -> Rotoscope:
    """The command line, with that server in the environment."""
    monkeypatch.setenv("ROTOSCOPE_SERVER", server_url)
    monkeypatch.setenv("ROTOSCOPE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("ROTOSCOPE_KEY", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})

    return run
