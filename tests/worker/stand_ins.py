"""A server that answers the worker protocol from memory, so that a test can make it misbehave."""

import json
from collections import deque
from dataclasses import dataclass, field
from threading import Event

import httpx2

from rotoscope.schema.input import MODEL_ID, VideoToVideoInput
from rotoscope.schema.worker import Assignment
from rotoscope.worker.api import WorkerApi

Answer = httpx2.Response | Exception
KEY = "worker-key"


def make_input(**fields: object) -> VideoToVideoInput:
    body = {"prompt": "p", "video_url": "https://h.test/v.mp4", "loras": [], **fields}
    return VideoToVideoInput.model_validate_json(json.dumps(body))


def make_job(**fields: object) -> Assignment:
    return Assignment(
        request_id="job-1",
        model_id=MODEL_ID,
        attempt=1,
        token="lease",
        lease_s=60,
        heartbeat_s=0.05,
        input=make_input(**fields),
    )


@dataclass
class Server:
    """Records every call; `script` holds answers to give before the usual ones."""

    jobs: deque[Assignment] = field(default_factory=deque)
    uploads: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    script: dict[str, deque[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    called: Event = field(default_factory=Event)

    def will_answer(self, verb: str, *answers: Answer) -> None:
        self.script[verb] = deque(answers)

    def sent(self, verb: str) -> list[dict[str, object]]:
        return [body for name, body in self.calls if name == verb]

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        verb = _verb(request)
        content = request.read()
        is_json = request.headers.get("content-type") == "application/json"
        self.calls.append((verb, json.loads(content) if is_json else {}))
        self.called.set()
        if self.script.get(verb):
            answer = self.script[verb].popleft()
            if isinstance(answer, Exception):
                raise answer
            return answer
        return self._usual(verb, request, content)

    def _usual(self, verb: str, request: httpx2.Request, content: bytes) -> httpx2.Response:
        if verb == "claim" and self.jobs:
            return httpx2.Response(200, content=self.jobs.popleft().model_dump_json())
        if verb == "files":
            assert request.headers["lease-token"] == "lease"
            key = f"outputs/{len(self.files) + 1}"
            self.files[key] = content
            body = {"key": key, "size": len(content), "sha256": "0" * 64}
            return httpx2.Response(201, json=body)
        if verb == "uploads":
            upload = self.uploads.get(request.url.path.rpartition("/")[2])
            return httpx2.Response(404) if upload is None else httpx2.Response(200, content=upload)
        return httpx2.Response(204)

    def connect(self, stopping: Event | None = None) -> WorkerApi:
        return WorkerApi(
            "http://server.test",
            KEY,
            worker_id="w1",
            stopping=stopping,
            transport=httpx2.MockTransport(self.handle),
        )


def _verb(request: httpx2.Request) -> str:
    parts = request.url.path.split("/")
    return "claim" if parts[3] == "claim" else "uploads" if parts[3] == "uploads" else parts[5]
