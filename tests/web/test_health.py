"""What the operator's machines are told: readiness names what is missing, metrics add up."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rotoscope.jobs.store import Idempotency, NewJob
from rotoscope.schema.input import MODEL_ID, parse_input
from tests.web.conftest import BODY, OpenSite, Site

Labels = dict[str, str]


def scraped(site: Site) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = site.http.get("/metrics", headers=site.worker)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(site: Site, name: str, **labels: str) -> float | None:
    return scraped(site).get((f"rotoscope_{name}", frozenset(labels.items())))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scrape asks the store."""
    monkeypatch.setattr("rotoscope.web.metrics.KEPT_S", 0.0)
    monkeypatch.setattr("rotoscope.web.metrics.COUNTS_KEPT_S", 0.0)


# /readyz


def test_without_a_worker_it_is_not_ready_and_says_so(site: Site) -> None:
    answer = site.http.get("/readyz")

    assert answer.status_code == 503
    assert "a worker (0 of 1 there)" in answer.json()["error_message"]
    assert int(answer.headers["Retry-After"]) > 0


def test_with_a_worker_that_was_heard_of_it_is_ready(site: Site) -> None:
    site.parts.store.seen("gpu-0", "default", {})

    assert site.http.get("/readyz").json() == {"status": "ready", "workers": 1}
    assert site.http.get("/readyz?workers=2").status_code == 503


def test_a_worker_is_heard_of_by_its_claim(site: Site) -> None:
    site.submit()
    site.claim()

    assert site.http.get("/readyz").status_code == 200


def test_a_worker_that_went_silent_is_not_counted(site: Site) -> None:
    site.parts.store.seen("gpu-0", "default", {})
    site.clock.now += 61

    assert site.http.get("/readyz").status_code == 503


def test_everything_that_is_missing_is_named_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise OSError("secret path")

    monkeypatch.setattr(site.parts.store, "ping", broken)
    monkeypatch.setattr(site.parts.storage, "check", broken)

    message = site.http.get("/readyz").json()["error_message"]

    for name in ("the job table", "the storage", "a worker"):
        assert name in message
    assert "secret path" not in message


# /metrics


def test_metrics_need_a_workers_key(site: Site) -> None:
    assert site.http.get("/metrics").status_code == 401
    assert site.http.get("/metrics", headers=site.client).status_code == 403
    assert site.http.get("/metrics", headers=site.worker).status_code == 200


def test_metrics_are_open_where_the_operator_says_so(open_site: OpenSite) -> None:
    assert open_site(metrics_open=True).http.get("/metrics").status_code == 200


def test_the_queue_is_told_by_pool(site: Site) -> None:
    site.submit()
    site.submit()
    site.clock.now += 30
    site.claim()

    assert value(site, "queue_jobs", pool="default") == 1
    assert value(site, "queue_oldest_seconds", pool="default") == pytest.approx(30)
    assert value(site, "running_jobs", pool="default") == 1
    assert value(site, "jobs", state="in_queue") == 1
    assert value(site, "jobs", state="in_progress") == 1
    assert value(site, "jobs", state="succeeded") == 0
    assert value(site, "pool_paused", pool="default") == 0

    site.parts.store.pause("default")
    assert value(site, "pool_paused", pool="default") == 1


def test_submits_ends_and_stages_are_counted(site: Site) -> None:
    for _ in range(4):
        site.submit()
    site.finish(site.claim())
    failure = {"code": "out_of_memory", "message": "too large", "retryable": False}
    job = site.claim()
    assert site.tell(job, "fail", error=failure) == 204
    assert site.tell(job, "fail", error=failure) == 204, "a repeated call"
    waiting = site.submit()
    site.http.post(f"/v1/requests/{waiting}/cancel", headers=site.client)
    site.http.post(f"/v1/requests/{waiting}/cancel", headers=site.client)

    assert value(site, "jobs_submitted_total", model=MODEL_ID) == 5
    assert value(site, "jobs_ended_total", state="succeeded", code="") == 1
    assert value(site, "jobs_ended_total", state="failed", code="out_of_memory") == 1
    assert value(site, "jobs_ended_total", state="cancelled", code="") == 1
    assert value(site, "stage_seconds_sum", stage="denoise") == 1.5
    assert value(site, "stage_seconds_count", stage="denoise") == 1


def test_lost_attempts_are_counted(site: Site) -> None:
    site.submit()
    site.claim()
    site.clock.now += 61

    site.parts.store.reap()

    assert value(site, "jobs_lost_total") == 1
    assert value(site, "jobs_ended_total", state="failed", code="worker_lost") is None


def test_workers_and_their_memory_are_told(site: Site) -> None:
    facts = {"gpu_memory_used_bytes": 2e9, "gpu_memory_total_bytes": 8e9, "device": "a card"}
    site.parts.store.seen("gpu-0", "default", facts)
    site.parts.store.seen("cpu-0", "default", {"device": "cpu"})

    assert value(site, "workers", pool="default") == 2
    assert value(site, "worker_gpu_memory_used_bytes", worker="gpu-0") == 2e9
    assert value(site, "worker_gpu_memory_total_bytes", worker="gpu-0") == 8e9
    assert value(site, "worker_gpu_memory_total_bytes", worker="cpu-0") is None


def test_requests_are_counted_by_route_and_not_by_path(site: Site) -> None:
    """A path has ids in it: a row for each would never end."""
    for _ in range(3):
        site.status(site.submit())
    site.http.get("/no/such/path")

    labels = {"method": "GET", "route": "/v1/requests/{request_id}/status", "status": "200"}
    assert value(site, "http_request_seconds_count", **labels) == 3
    unknown = {"method": "GET", "route": "none", "status": "404"}
    assert value(site, "http_request_seconds_count", **unknown) == 1


def test_metrics_are_told_while_the_table_is_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert value(site, "store_up") == 1
    site.submit()

    def away() -> None:
        raise OSError("gone")

    # The inner store: metrics do not ask through what counts for them.
    monkeypatch.setattr(site.parts.store._store, "pools", away)  # type: ignore[attr-defined]

    assert value(site, "store_up") == 0
    assert value(site, "queue_jobs", pool="default") is None
    assert value(site, "jobs_submitted_total", model=MODEL_ID) == 1


def test_a_table_too_long_to_count_leaves_only_its_counts_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.submit()

    def too_long() -> None:
        raise OSError("statement timeout")

    monkeypatch.setattr(site.parts.store._store, "counts", too_long)  # type: ignore[attr-defined]

    assert value(site, "store_up") == 1
    assert value(site, "queue_jobs", pool="default") == 1
    assert value(site, "jobs", state="in_queue") is None


def test_a_replayed_submit_is_not_counted_again(site: Site) -> None:
    asked = parse_input(json.dumps(BODY).encode())
    word = Idempotency("key-1", "0" * 64)

    for _ in range(2):
        new = NewJob(model_id=MODEL_ID, key_id="me", input=asked, idempotency=word)
        site.parts.store.submit(new)

    assert value(site, "jobs_submitted_total", model=MODEL_ID) == 1
