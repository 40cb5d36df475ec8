"""Workers made of nothing but calls: they claim at the same moment, keep silent, come back late.

What a lost worker says must be refused, whatever it is; and no two of them may hold one attempt.
One of them can also work honestly, and then takes milliseconds for a job.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import httpx2

from rotoscope.web.reaper import EVERY_S as REAPER_S
from tests.faults.place import WORKER_KEY
from tests.faults.witness import Witness, read_all
from tests.jobs.conftest import make_outcome

CONFLICT = 409
NO_CONTENT = 204
FAILURE = {"code": "internal_error", "message": "A ghost says so.", "retryable": False}
REAPED_S = 2 * REAPER_S + 0.5
"""Beyond its lease: a silent worker's job is given up by then, if nothing holds the server up."""
PATIENCE_S = 10.0
"""How much longer a ghost waits for its job to begin again."""
LOOK_S = 0.5
OUTCOME = make_outcome().model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class Held:
    """A claim that was answered."""

    request_id: str
    attempt: int
    token: str

    @property
    def path(self) -> str:
        return f"/v1/worker/jobs/{self.request_id}"


class Ghosts:
    """Raw calls of the worker API, straight to the server."""

    def __init__(self, url: Callable[[], str], witness: Path, lease_s: float) -> None:
        self._url = url
        self._witness = Witness(witness)
        self._seen = witness
        self._silence_s = lease_s + REAPED_S
        self._lock = threading.Lock()
        self.faults: list[str] = []
        self.refused = 0

    def haunt(self, count: int, over: Event) -> None:
        """Claim at once, be silent until given up for lost; while others hold the jobs, speak.

        Only whose job was seen to start again is known to be lost: a server that was away, or that
        is slow, gives up later.
        """
        lost = self.claim_at_once(count)
        if not lost or over.wait(self._silence_s):
            return
        until = time.monotonic() + PATIENCE_S
        while True:
            others = self.claim_at_once(count)
            known = [one for one in lost if self._superseded(one)]
            if len(known) == len(lost) or time.monotonic() > until or over.wait(LOOK_S):
                break
            self._finish_all(others)
        for one in known:
            self.come_back(one)
        self._finish_all(others)

    def _superseded(self, held: Held) -> bool:
        """Whether a later attempt at the job has begun."""
        return any(
            seen.request_id == held.request_id and seen.attempt > held.attempt
            for seen in read_all(self._seen)
        )

    def claim_at_once(self, count: int) -> list[Held]:
        start = Barrier(count)
        held: list[Held] = []

        def claim(number: int) -> None:
            with self._http() as http:
                start.wait(10)
                answer = _post(http, "/v1/worker/claim", worker_id=f"ghost-{number}", wait_s=0)
            if one := self._held(answer, f"ghost-{number}"):
                with self._lock:
                    held.append(one)

        threads = [Thread(target=claim, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        self._find_doubles(held)
        return held

    def work(self, over: Event) -> None:
        """Do every job there is, as it should be done, until `over`."""
        while not over.is_set():
            with self._http() as http:
                answer = _post(http, "/v1/worker/claim", worker_id="hand", wait_s=0.5)
                if one := self._held(answer, "hand"):
                    self._finish(http, one)
                else:
                    over.wait(0.05)

    def _finish_all(self, held: list[Held]) -> None:
        with self._http() as http:
            for one in held:
                self._finish(http, one)

    def _finish(self, http: httpx2.Client, held: Held) -> None:
        stored = self._store(http, held)
        if stored is not None and stored.is_success:
            facts = {name: OUTCOME[name] for name in ("media", "manifest", "metrics")}
            file = stored.json()["key"]
            _post(http, f"{held.path}/succeed", token=held.token, file=file, **facts)

    def _held(self, answer: httpx2.Response | None, worker: str) -> Held | None:
        """What a claim was answered, noted as a start."""
        if answer is None or answer.status_code != httpx2.codes.OK:
            return None
        got = answer.json()
        one = Held(got["request_id"], got["attempt"], got["token"])
        self._witness.note("start", one.request_id, one.attempt, worker)
        return one

    def come_back(self, held: Held) -> None:
        """Every call that a lost worker might still make; none may be accepted."""
        with self._http() as http:
            answers = {
                "heartbeat": _post(http, f"{held.path}/heartbeat", token=held.token),
                "file": self._store(http, held),
                "fail": _post(http, f"{held.path}/fail", token=held.token, error=FAILURE),
                "release": _post(http, f"{held.path}/release", token=held.token),
            }
        for call, answer in answers.items():
            self._judge(held, call, answer)

    def _judge(self, held: Held, call: str, answer: httpx2.Response | None) -> None:
        if answer is None or answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
            return
        if answer.status_code == CONFLICT:
            self.refused += 1
            return
        self.faults.append(
            f"{held.request_id}: attempt {held.attempt} was given up for lost, "
            f"yet its {call} was answered {answer.status_code}"
        )

    def _find_doubles(self, held: list[Held]) -> None:
        seen: set[tuple[str, int]] = set()
        for one in held:
            if (one.request_id, one.attempt) in seen:
                self.faults.append(f"{one.request_id}: attempt {one.attempt} was handed out twice")
            seen.add((one.request_id, one.attempt))

    def _store(self, http: httpx2.Client, held: Held) -> httpx2.Response | None:
        try:
            return http.put(
                f"{held.path}/files/out.mp4", content=b"video", headers={"Lease-Token": held.token}
            )
        except httpx2.TransportError:
            return None

    def _http(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self._url(),
            headers={"Authorization": f"Bearer {WORKER_KEY}"},
            timeout=httpx2.Timeout(10),
            trust_env=False,
        )


def _post(http: httpx2.Client, path: str, **message: Any) -> httpx2.Response | None:
    try:
        return http.post(path, json=message)
    except httpx2.TransportError:
        return None
