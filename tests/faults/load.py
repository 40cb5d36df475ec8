"""Clients that submit, cancel and look, and write down every answer.

One thread for each key, so that the order of its submits is known. A submit whose answer is lost
is sent again under its Idempotency-Key, as a client would.
"""

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import httpx2

MODEL = "/v1/models/ltx/ltx-2-19b/video-to-video/lora"
ENDED = frozenset({"succeeded", "failed", "cancelled"})
SMALL = {
    "video_size": {"width": 64, "height": 64},
    "num_frames": 9,
    "match_video_length": False,
    "video_quality": "low",
    "use_multiscale": False,
    "loras": [],
}
PAUSE_S = 0.2
"""Most time between two submits of one key."""
LATER = frozenset({429, 500, 502, 503, 504})


@dataclass
class Job:
    """What was seen of one accepted job, from outside."""

    request_id: str
    key: int
    number: int
    """Place among its key's submits."""
    cancelled: bool = False
    """Whether a cancel was answered `cancelled`."""
    ended: dict[str, Any] | None = None
    """The first answer of /result that said it has ended."""
    faults: list[str] = field(default_factory=list)
    asking: threading.Lock = field(default_factory=threading.Lock)
    """One question about a job at a time, so that its answers are in order."""

    def see(self, result: dict[str, Any]) -> None:
        """Compare an answer of /result with what was seen before."""
        if self.ended is None:
            self.ended = result if result["status"] in ENDED else None
        elif result != self.ended:
            self.faults.append(f"{self.request_id}: ended as {self.ended}, later {result}")
        if self.cancelled and result["status"] != "cancelled":
            self.faults.append(f"{self.request_id}: was cancelled, is {result['status']}")


class Caller:
    """One key's client. It never gives up: what is away comes back."""

    def __init__(self, url: str, token: str, over: Event) -> None:
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(5),
            trust_env=False,
        )
        self._over = over

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response | None:
        """An answer that says something; None when the run is over before."""
        while not self._over.is_set():
            try:
                answer = self._http.request(method, path, **more)
            except httpx2.TransportError:
                self._over.wait(0.1)
                continue
            if answer.status_code not in LATER:
                return answer
            self._over.wait(0.1)
        return None

    def close(self) -> None:
        self._http.close()


class Load:
    """All clients, and what they saw."""

    def __init__(
        self,
        url: str,
        tokens: list[str],
        clip: Path,
        *,
        seed: int,
        cancels: float = 0.15,
        webhook: str,
    ) -> None:
        self._cancels = cancels
        self._webhook = webhook
        self.jobs: list[Job] = []
        self.refused: list[str] = []
        self.over = Event()
        """Set once all has been seen: calls that still wait are given up."""
        self._url = url
        self._tokens = tokens
        self._clip = clip
        self._seed = seed
        self._lock = threading.Lock()
        self._threads: list[Thread] = []

    def start(self, jobs: int) -> None:
        """Let each key submit its share of `jobs`."""
        share = -(-jobs // len(self._tokens))
        for key in range(len(self._tokens)):
            thread = Thread(target=self._submit_all, args=(key, share), daemon=True)
            thread.start()
            self._threads.append(thread)

    def busy(self) -> bool:
        """Whether there is something left to submit."""
        return any(thread.is_alive() for thread in self._threads)

    def unfinished(self) -> list[Job]:
        with self._lock:
            return [job for job in self.jobs if job.ended is None]

    def look(self, jobs: list[Job]) -> None:
        """Ask for the results of these jobs once."""
        callers = [Caller(self._url, token, self.over) for token in self._tokens]
        for job in jobs:
            self._see(job, callers[job.key])
        for caller in callers:
            caller.close()

    def close(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(10)

    def _submit_all(self, key: int, share: int) -> None:
        chance = random.Random(f"{self._seed} {key}")
        caller = Caller(self._url, self._tokens[key], self.over)
        source = self._upload(caller)
        own: list[Job] = []
        for number in range(share):
            job = self._submit(caller, source, key, number)
            if job is None:
                break
            own.append(job)
            if chance.random() < self._cancels:
                self._cancel(caller, chance.choice(own[-4:]))
            self._see(chance.choice(own), caller)
            self.over.wait(chance.uniform(0, PAUSE_S))
        caller.close()

    def _upload(self, caller: Caller) -> str:
        answer = caller.ask("POST", "/v1/uploads", files={"file": self._clip.read_bytes()})
        return str(answer.json()["url"]) if answer and answer.is_success else "none"

    def _submit(self, caller: Caller, source: str, key: int, number: int) -> Job | None:
        body = {**SMALL, "prompt": f"{key}-{number}", "video_url": source}
        headers = {"Idempotency-Key": uuid4().hex, "X-Webhook-URL": self._webhook}
        answer = caller.ask("POST", MODEL, json=body, headers=headers)
        if answer is None:
            return None
        if not answer.is_success:
            self.refused.append(f"{answer.status_code} {answer.text[:200]}")
            return None
        job = Job(answer.json()["request_id"], key, number)
        with self._lock:
            self.jobs.append(job)
        return job

    def _cancel(self, caller: Caller, job: Job) -> None:
        with job.asking:
            answer = caller.ask("POST", f"/v1/requests/{job.request_id}/cancel")
            if answer is not None and answer.json().get("outcome") == "cancelled":
                job.cancelled = True

    def _see(self, job: Job, caller: Caller) -> None:
        with job.asking:
            answer = caller.ask("GET", f"/v1/requests/{job.request_id}/result")
            if answer is None:
                return
            if answer.is_success:
                job.see(answer.json())
            else:
                job.faults.append(f"{job.request_id}: accepted, then {answer.status_code}")
