"""A webhook arrives, signed, at least once, at nobody but the one it is for."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from rotoscope.jobs.open import open_store
from rotoscope.jobs.store import Delivery
from rotoscope.keys import open_keys
from rotoscope.media.fetch import FetchPolicy
from rotoscope.settings import Settings
from rotoscope.storage import open_storage
from rotoscope.web.app import create_app
from rotoscope.web.sender import LEASE_MARGIN_S, PAUSES_S, SPREAD, pause_after
from tests.https_site import HttpsSite, Posted, https_site
from tests.web.conftest import BODY, SUBMIT, OpenSite, Site
from tests.web.test_server import WORKER, Server, started
from tests.web.test_signing import verified_by

PATIENCE_S = 60
ERROR = {"code": "internal_error", "message": "broken", "retryable": True}
DAY_S = 24 * 3600
PROGRESS = {
    "stage": "denoise", "stages": ["denoise"], "step": 1, "steps": 2, "fraction": 0.5,
}  # fmt: skip


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[HttpsSite]:
    with https_site(tmp_path) as found:
        yield found


@dataclass(frozen=True)
class Hooked:
    """An application whose webhooks may go to the receiver of the test."""

    site: Site
    receiver: HttpsSite

    def submit(self, url: str, **query: str) -> str:
        return self.ask(params={"webhook": url, **query})

    def ask(self, **more: Any) -> str:
        headers = self.site.client | more.pop("headers", {})
        answer = self.site.http.post(SUBMIT, json=BODY, headers=headers, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    def run(self, url: str, **query: str) -> str:
        job_id = self.submit(url, **query)
        self.site.finish(self.site.claim())
        return job_id

    def ledger(self, job_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.site.get(f"/v1/requests/{job_id}/webhooks")["deliveries"]
        return found

    def await_state(self, job_id: str, state: str, attempts: int = 1) -> dict[str, Any]:
        """The newest delivery, once it is in this state after so many attempts."""

        def there() -> dict[str, Any] | None:
            entry = self.ledger(job_id)[-1]
            right = entry["state"] == state and entry["attempts"] >= attempts
            return entry if right and self.site.parts.store.get(job_id) else None

        return until(there)

    def redeliver(self, job_id: str, delivery_id: str) -> int:
        path = f"/v1/requests/{job_id}/webhooks/{delivery_id}/redeliver"
        return self.site.http.post(path, headers=self.site.client).status_code


def until(seen: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := seen():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S} s: {seen()}")


@pytest.fixture
def hooked(open_site: OpenSite, receiver: HttpsSite, monkeypatch: pytest.MonkeyPatch) -> Hooked:
    monkeypatch.setattr("rotoscope.web.sender.LOOK_EVERY_S", 0.05)
    site = open_site(
        webhook_private_hosts=("127.0.0.1",),
        fetch_ca_file=receiver.ca_file,
        webhook_timeout_s=2,
    )
    return Hooked(site, receiver)


# What arrives


def test_the_end_arrives_as_the_result_says_it(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook?for=me", b"", 204)

    job_id = hooked.run(url)
    hooked.await_state(job_id, "delivered")

    (posted,) = hooked.receiver.posted
    told = json.loads(posted.body)
    assert posted.path == "/hook?for=me"
    assert posted.headers["content-type"] == "application/json"
    assert told.pop("event") == "request.succeeded"
    assert told.pop("delivery_id") == posted.headers["webhook-id"]
    assert told == hooked.site.result(job_id)
    assert told["output"]["video"].startswith("http://testserver/files/outputs/")


def test_a_failure_and_a_cancel_are_told_too(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"")
    failed, cancelled = hooked.submit(url), hooked.submit(url)
    error = {"code": "out_of_memory", "message": "too large", "retryable": False}
    hooked.site.tell(hooked.site.claim(), "fail", error=error)
    hooked.site.http.post(f"/v1/requests/{cancelled}/cancel", headers=hooked.site.client)

    hooked.await_state(failed, "delivered")
    hooked.await_state(cancelled, "delivered")

    told = {body["request_id"]: body for body in map(body_of, hooked.receiver.posted)}
    assert told[failed]["event"] == "request.failed"
    assert told[failed]["error"]["code"] == "out_of_memory"
    assert told[cancelled]["event"] == "request.cancelled"


def test_a_receiver_can_tell_that_it_is_genuine(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"")
    hooked.await_state(hooked.run(url), "delivered")
    answer = hooked.site.http.get("/.well-known/jwks.json")
    (posted,) = hooked.receiver.posted

    assert "max-age" in answer.headers["cache-control"]
    assert verified_by(answer.json(), posted.headers, posted.body)
    assert not verified_by(answer.json(), posted.headers, posted.body + b" ")
    assert abs(time.time() - int(posted.headers["webhook-timestamp"])) < PATIENCE_S


def test_the_header_does_what_the_query_does(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"")
    job_id = hooked.ask(headers={"X-Webhook-URL": url})
    hooked.site.finish(hooked.site.claim())

    hooked.await_state(job_id, "delivered")

    assert [body_of(posted)["request_id"] for posted in hooked.receiver.posted] == [job_id]


def test_start_and_progress_are_told_where_they_were_asked_for(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"")
    job_id = hooked.submit(url, webhook_events="all")
    job = hooked.site.claim()
    until(lambda: events_at(hooked.receiver) == ["request.started"])
    hooked.site.tell(job, "heartbeat", progress=PROGRESS)
    until(lambda: events_at(hooked.receiver)[-1] == "request.progress")
    hooked.site.finish(job)

    hooked.await_state(job_id, "delivered")

    assert events_at(hooked.receiver) == [
        "request.started", "request.progress", "request.succeeded",
    ]  # fmt: skip
    assert body_of(hooked.receiver.posted[1])["progress"]["fraction"] == 0.5
    assert "progress" not in body_of(hooked.receiver.posted[2])


def test_a_job_without_a_webhook_posts_nothing(hooked: Hooked) -> None:
    job_id = hooked.site.submit()
    hooked.site.finish(hooked.site.claim())

    assert hooked.ledger(job_id) == []


# Where it may go


FORBIDDEN = [
    "http://example.org/hook",
    "https://10.0.0.1/hook",
    "https://[::1]/hook",
    "https://example.org:22/hook",
    "https://me:secret@example.org/hook",
    "data:,hello",
    "not a url",
    "",
    "https://example.org/" + "a" * 2048,
]


@pytest.mark.parametrize("way", ["query", "header"])
def test_what_may_not_be_sent_to_is_refused_at_submit(site: Site, way: str) -> None:
    place = ["query", "webhook"] if way == "query" else ["header", "X-Webhook-URL"]
    for url in FORBIDDEN:
        asked: dict[str, Any] = {"params": {"webhook": url}, "headers": site.client}
        if way == "header":
            asked = {"headers": site.client | {"X-Webhook-URL": url}}
        answer = site.http.post(SUBMIT, json=BODY, **asked)

        assert answer.status_code == 422, url
        assert [problem["loc"] for problem in answer.json()["detail"]] == [place]
    assert site.parts.store.waiting() == 0


def test_what_contradicts_itself_is_refused(site: Site) -> None:
    one, other = "https://example.org/a", "https://example.org/b"
    for params, headers in (
        ({"webhook": one}, {"X-Webhook-URL": other}),
        ({"webhook_events": "all"}, {}),
        ({"webhook": one, "webhook_events": "some"}, {}),
    ):
        answer = site.http.post(SUBMIT, json=BODY, params=params, headers=site.client | headers)
        assert answer.status_code == 422, params
    assert site.parts.store.waiting() == 0


def test_a_name_that_now_leads_inside_is_not_connected_to(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up at submit means nothing later: each attempt checks the address it goes to."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 443))])
    hooked.receiver.serve_bytes("/hook", b"")
    monkeypatch.setattr(
        "rotoscope.web.sender.policy_of",
        lambda _: FetchPolicy(timeout_s=2),
    )

    job_id = hooked.run("https://rebinds.example/hook")
    entry = hooked.await_state(job_id, "waiting")

    assert "not on the public internet" in entry["last_error"]
    assert not hooked.receiver.posted


def test_a_redirect_is_not_followed(hooked: Hooked) -> None:
    elsewhere = hooked.receiver.serve_bytes("/elsewhere", b"")
    url = hooked.receiver.redirect("/hook", elsewhere)

    entry = hooked.await_state(hooked.run(url), "waiting")

    assert entry["last_status"] == 302
    assert {posted.path for posted in hooked.receiver.posted} == {"/hook"}


# Again and again


def test_pauses_grow_and_make_about_a_day() -> None:
    assert all(earlier <= later for earlier, later in pairwise(PAUSES_S))
    assert sum(PAUSES_S) == pytest.approx(DAY_S, rel=0.02)
    assert pause_after(len(PAUSES_S) + 1) is None
    drawn = [pause_after(1) for _ in range(200)]
    assert len(set(drawn)) > 100
    assert all(pause and abs(pause / PAUSES_S[0] - 1) <= SPREAD for pause in drawn)


def test_a_receiver_that_fails_is_asked_again_with_the_same_id(hooked: Hooked) -> None:
    answers = iter([500, 503, 200])

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(next(answers))
        request.send_header("Content-Length", "0")
        request.end_headers()

    job_id = hooked.run(hooked.receiver.serve("/hook", answer))
    first = hooked.await_state(job_id, "waiting", attempts=1)
    hooked.site.clock.now += PAUSES_S[0] * (1 + SPREAD)
    hooked.await_state(job_id, "waiting", attempts=2)
    hooked.site.clock.now += PAUSES_S[1] * (1 + SPREAD)
    last = hooked.await_state(job_id, "delivered", attempts=3)

    assert first["last_status"] == 500
    assert "answered 500" in first["last_error"]
    assert last["last_status"] == 200
    assert "last_error" not in last
    assert len({posted.headers["webhook-id"] for posted in hooked.receiver.posted}) == 1
    assert len({posted.body for posted in hooked.receiver.posted}) == 1


def test_a_receiver_that_says_nothing_counts_as_a_failure(hooked: Hooked) -> None:
    over = Event()
    url = hooked.receiver.serve("/hook", lambda _: bool(over.wait(30)) and None)
    try:
        entry = hooked.await_state(hooked.run(url), "waiting")
    finally:
        over.set()

    assert "2 seconds" in entry["last_error"]
    assert "last_status" not in entry


def test_after_the_last_attempt_it_is_given_up(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"", 500)
    job_id = hooked.run(url)
    for attempt, pause in enumerate(PAUSES_S, start=1):
        hooked.await_state(job_id, "waiting", attempts=attempt)
        hooked.site.clock.now += pause * (1 + SPREAD)

    entry = hooked.await_state(job_id, "failed", attempts=len(PAUSES_S) + 1)

    assert entry["ended_at"]
    assert "next_attempt_at" not in entry


def test_a_receiver_that_is_gone_is_left_alone(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"", 410)

    assert hooked.await_state(hooked.run(url), "failed")["attempts"] == 1


def test_one_that_hangs_holds_nobody_up(hooked: Hooked) -> None:
    over = Event()
    hanging = hooked.receiver.serve("/hang", lambda _: bool(over.wait(30)) and None)
    url = hooked.receiver.serve_bytes("/hook", b"")
    try:
        for _ in range(3):
            hooked.run(hanging)
        hooked.await_state(hooked.run(url), "delivered")
        assert hooked.ledger(hooked.submit(hanging)) == []
    finally:
        over.set()


def test_an_outbox_that_cannot_be_read_is_looked_at_again(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, failures = hooked.site.parts.store.take_delivery, iter([True] * 3)

    def unreliable(lease_s: float) -> Delivery | None:
        if next(failures, False):
            raise OSError("away")
        return take(lease_s)

    monkeypatch.setattr(hooked.site.parts.store, "take_delivery", unreliable)

    hooked.await_state(hooked.run(hooked.receiver.serve_bytes("/hook", b"")), "delivered")
    assert not next(failures, False)


def test_what_could_not_be_noted_is_sent_again_once_its_lease_is_over(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the death of a server in the middle: twice, never not at all."""
    settle, failures = hooked.site.parts.store.settle_delivery, iter([True])

    def unreliable(*told: Any, **more: Any) -> bool:
        if next(failures, False):
            raise OSError("away")
        return settle(*told, **more)

    monkeypatch.setattr(hooked.site.parts.store, "settle_delivery", unreliable)
    job_id = hooked.run(hooked.receiver.serve_bytes("/hook", b""))
    until(lambda: len(hooked.receiver.posted) == 1)
    hooked.await_state(job_id, "sending")
    hooked.site.clock.now += 2 + LEASE_MARGIN_S + 1

    hooked.await_state(job_id, "delivered", attempts=2)

    assert len({posted.headers["webhook-id"] for posted in hooked.receiver.posted}) == 1


# The ledger


def test_it_can_be_sent_again_by_hand(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"")
    job_id = hooked.run(url)
    first = hooked.await_state(job_id, "delivered")

    assert hooked.redeliver(job_id, first["delivery_id"]) == 202
    hooked.await_state(job_id, "delivered", attempts=2)

    assert len(hooked.receiver.posted) == 2
    assert len({posted.headers["webhook-id"] for posted in hooked.receiver.posted}) == 1


def test_only_the_owner_sees_and_sends(hooked: Hooked) -> None:
    url = hooked.receiver.serve_bytes("/hook", b"")
    job_id = hooked.run(url)
    entry = hooked.await_state(job_id, "delivered")
    path = f"/v1/requests/{job_id}/webhooks"
    again = f"{path}/{entry['delivery_id']}/redeliver"

    assert hooked.site.http.get(path, headers=hooked.site.other).status_code == 403
    assert hooked.site.http.post(again, headers=hooked.site.other).status_code == 403
    assert hooked.site.http.get(path).status_code == 401
    assert hooked.redeliver(job_id, "no-such-id") == 404
    other_job = hooked.site.submit()
    assert hooked.redeliver(other_job, entry["delivery_id"]) == 404


def test_attempts_are_in_the_metrics(hooked: Hooked) -> None:
    job_id = hooked.run(hooked.receiver.serve_bytes("/hook", b"", 410))
    hooked.await_state(job_id, "failed")

    text = until(lambda: counted(hooked.site, 'rotoscope_webhook_attempts_total{outcome="failed"}'))

    assert text == "1.0"


# What dies


def test_a_server_that_is_killed_before_it_sent_is_followed_by_one_that_does(
    tmp_path: Path, receiver: HttpsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 after the job's end was answered: the next server delivers it."""
    monkeypatch.setenv("ROTOSCOPE_WEBHOOK_PRIVATE_HOSTS", "127.0.0.1")
    monkeypatch.setenv("ROTOSCOPE_FETCH_CA_FILE", str(receiver.ca_file))
    awake = Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200 if awake.is_set() else 503)
        request.send_header("Content-Length", "0")
        request.end_headers()

    url = receiver.serve("/hook", answer)
    with started(tmp_path / "data") as server:
        job_id = fail_a_job(server, url)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
    awake.set()
    before = len(receiver.posted)

    with started(tmp_path / "data"):
        until(lambda: len(receiver.posted) > before)

    posted = receiver.posted[-1]
    assert body_of(posted)["request_id"] == job_id
    assert body_of(posted)["event"] == "request.failed"


def test_two_servers_on_one_database_share_the_work_and_the_key(
    tmp_path: Path, receiver: HttpsSite, postgres_url: str
) -> None:
    """Ten jobs that are asked of one and ended at the other: each is told once, by whichever."""
    url = receiver.serve_bytes("/hook", b"")
    chosen = Settings(
        data_dir=tmp_path / "data",
        database_url=SecretStr(postgres_url),
        anonymous=True,
        webhook_private_hosts=("127.0.0.1",),
        fetch_ca_file=receiver.ca_file,
    )
    with served(chosen) as one, served(chosen) as other:
        ids = [
            one.post(SUBMIT, json=BODY, params={"webhook": url}).json()["request_id"]
            for _ in range(10)
        ]
        for _ in ids:
            claim = {"worker_id": "w", "wait_s": 30}
            job = other.post("/v1/worker/claim", json=claim, headers=WORKER).json()
            failure = {"token": job["token"], "error": ERROR}
            path = f"/v1/worker/jobs/{job['request_id']}/fail"
            assert other.post(path, json=failure, headers=WORKER).status_code == 204
        until(lambda: len(receiver.posted) >= len(ids))
        jwks = [http.get("/.well-known/jwks.json").json() for http in (one, other)]

    assert sorted(body_of(posted)["request_id"] for posted in receiver.posted) == sorted(ids)
    assert jwks[0] == jwks[1]
    assert all(verified_by(jwks[0], posted.headers, posted.body) for posted in receiver.posted)


@contextmanager
def served(settings: Settings) -> Iterator[TestClient]:
    """One server of several, by itself in this process."""
    with open_keys(settings) as keys, closing(open_store(settings)) as store:
        app = create_app(store, open_storage(settings), keys, settings, worker_key="gpu")
        with TestClient(app, base_url="http://localhost") as http:
            yield http


def fail_a_job(server: Server, webhook: str) -> str:
    path = f"{SUBMIT}?webhook={webhook}"
    job_id = str(server.call("POST", path, BODY)["request_id"])
    job = server.call("POST", "/v1/worker/claim", {"worker_id": "w", "wait_s": 30}, WORKER)
    request = {"token": job["token"], "error": ERROR}
    with pytest.raises(json.JSONDecodeError):  # an answer without a body
        server.call("POST", f"/v1/worker/jobs/{job_id}/fail", request, WORKER)
    return job_id


def body_of(posted: Posted) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(posted.body)
    return found


def events_at(receiver: HttpsSite) -> list[str]:
    return [body_of(posted)["event"] for posted in receiver.posted]


def counted(site: Site, name: str) -> str | None:
    lines = site.http.get("/metrics", headers=site.worker).text.splitlines()
    return next((line.rpartition(" ")[2] for line in lines if line.startswith(name)), None)
