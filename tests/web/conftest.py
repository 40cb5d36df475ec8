"""The whole application in this process, on a data folder of its own, with a key of each kind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.keys import KeyStore
from rotoscope.schema.input import MODEL_ID
from rotoscope.settings import Settings
from rotoscope.storage import open_storage
from rotoscope.web.app import create_app
from rotoscope.web.parts import Parts

SUBMIT = f"/v1/models/{MODEL_ID}"
BODY: dict[str, Any] = {
    "prompt": "a red bicycle",
    "video_url": "https://example.org/a.mp4",
    "loras": [],
}
MEDIA = {
    "content_type": "video/mp4",
    "size": 10,
    "width": 64,
    "height": 64,
    "fps": "25",
    "frames": 9,
    "duration_s": 0.36,
    "audio": False,
}
MANIFEST = {
    "model_id": MODEL_ID,
    "checkpoint": "mini",
    "prompt": "a red bicycle",
    "asked_prompt": "a red bicycle",
    "negative_prompt": "",
    "seed": 0,
    "width": 64,
    "height": 64,
    "frames": 9,
    "fps": "25",
    "steps": 8,
    "guidance_scale": 3.0,
    "multiscale": False,
    "audio": False,
    "video_strength": 1.0,
    "source_sha256": "0" * 64,
    "image_sha256": None,
    "preprocessor": None,
    "loras": [],
    "operator": {},
    "versions": {"rotoscope": "0.1.0"},
    "input": BODY,
}


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Site:
    """One running application, and what a test wants of it."""

    http: TestClient
    keys: KeyStore
    parts: Parts
    clock: Clock
    client: dict[str, str]
    other: dict[str, str]
    worker: dict[str, str]

    def submit(self, **fields: object) -> str:
        answer = self.http.post(SUBMIT, json=BODY | fields, headers=self.client)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        return self.get(f"/v1/requests/{job_id}/status")

    def result(self, job_id: str) -> dict[str, Any]:
        return self.get(f"/v1/requests/{job_id}/result")

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path, headers=self.client)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def claim(self, wait_s: float = 0) -> dict[str, Any]:
        claim = {"worker_id": "gpu-0", "wait_s": wait_s}
        answer = self.http.post("/v1/worker/claim", json=claim, headers=self.worker)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def tell(self, job: dict[str, Any], verb: str, **fields: object) -> int:
        """One call of the worker's about its job; answers the status code."""
        path = f"/v1/worker/jobs/{job['request_id']}/{verb}"
        message = {"token": job["token"]} | fields
        return self.http.post(path, json=message, headers=self.worker).status_code

    def store(self, job: dict[str, Any], content: bytes = b"0123456789") -> str:
        path = f"/v1/worker/jobs/{job['request_id']}/files/out.mp4"
        headers = self.worker | {"Lease-Token": job["token"]}
        answer = self.http.put(path, content=content, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    def finish(self, job: dict[str, Any], content: bytes = b"0123456789") -> None:
        facts = {"media": MEDIA, "metrics": {"denoise": 1.5}, "manifest": MANIFEST}
        assert self.tell(job, "succeed", file=self.store(job, content), **facts) == 204


OpenSite = Callable[..., Site]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def running(folder: Path, base_url: str = "http://testserver", **settings: Any) -> Iterator[Site]:
    """The application on one folder, from start to end."""
    chosen = Settings(data_dir=folder, **settings)
    clock = Clock()
    with (
        KeyStore(folder) as keys,
        SqliteJobStore(
            folder,
            lease_s=60,
            max_attempts=2,
            retention_s=chosen.retention_days * 86400 or None,
            clock=clock,
        ) as store,
    ):
        app = create_app(store, open_storage(chosen), keys, chosen, worker_key="given-at-start")
        with TestClient(app, base_url=base_url, client=("192.0.2.7", 50000)) as http:
            yield Site(
                http=http,
                keys=keys,
                parts=app.state.parts,
                clock=clock,
                client=bearer(keys.create("laptop").token),
                other=bearer(keys.create("phone").token),
                worker=bearer(keys.create("gpu", "worker").token),
            )


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[OpenSite]:
    """Starts the application with the settings of a test."""
    with ExitStack() as stack:

        def open_one(*args: Any, **settings: Any) -> Site:
            return stack.enter_context(running(tmp_path, *args, **settings))

        yield open_one


@pytest.fixture
def site(open_site: OpenSite) -> Site:
    return open_site()
