"""Cancelling a job that runs."""

from rotoscope.jobs.job import State
from tests.web.conftest import MANIFEST, MEDIA, Site

FACTS = {"media": MEDIA, "metrics": {"denoise": 1.5}, "manifest": MANIFEST}
FAILURE = {"code": "internal_error", "message": "It broke.", "retryable": True}


def cancel(site: Site, job_id: str, query: str = "?running=true") -> dict[str, str]:
    answer = site.http.post(f"/v1/requests/{job_id}/cancel{query}", headers=site.client)
    assert answer.status_code == 202
    found: dict[str, str] = answer.json()
    return found


def beat(site: Site, job: dict[str, str]) -> tuple[int, object]:
    answer = site.http.post(
        f"/v1/worker/jobs/{job['request_id']}/heartbeat",
        json={"token": job["token"]},
        headers=site.worker,
    )
    return answer.status_code, answer.json() if answer.content else None


def test_a_running_job_is_cancelled_when_its_worker_has_stopped(site: Site) -> None:
    """The worker hears of it by its heartbeat; until it says so the job is in progress."""
    job_id = site.submit()
    job = site.claim()
    assert beat(site, job) == (204, None)

    told = {"request_id": job_id, "status": "in_progress", "outcome": "cancelling"}
    assert cancel(site, job_id) == told
    assert beat(site, job) == (200, {"cancelling": True})
    assert site.status(job_id)["status"] == "in_progress"

    assert [site.tell(job, "stop") for _ in range(2)] == [204, 204]
    assert site.status(job_id)["status"] == site.result(job_id)["status"] == "cancelled"
    assert cancel(site, job_id)["outcome"] == "cancelled"
    assert beat(site, job)[0] == 409


def test_without_running_a_running_job_goes_on(site: Site) -> None:
    """As it was before there was that choice."""
    job_id = site.submit()
    job = site.claim()
    for query in ("", "?running=false"):
        assert cancel(site, job_id, query)["outcome"] == "not_cancellable"
    assert beat(site, job) == (204, None)


def test_a_cancelled_job_gets_no_output(site: Site) -> None:
    """A worker that was done first has its success taken, and nothing is kept of it."""
    job_id = site.submit()
    job = site.claim()
    key = site.store(job)
    cancel(site, job_id)

    assert site.tell(job, "succeed", file=key, **FACTS) == 204
    result = site.result(job_id)
    assert result["status"] == "cancelled"
    assert "output" not in result
    assert site.parts.storage.output(key) is None


def test_a_cancelled_job_neither_fails_nor_is_run_again(site: Site) -> None:
    """What its worker says at last, or that it says nothing, makes no difference."""
    for verb, facts in (("fail", {"error": FAILURE}), ("release", {})):
        job_id = site.submit()
        job = site.claim()
        cancel(site, job_id)
        assert site.tell(job, verb, **facts) == 204
        assert site.result(job_id)["status"] == "cancelled"

    lost = site.submit()
    site.claim()
    cancel(site, lost)
    site.clock.now += 61
    site.parts.store.reap()
    job = site.parts.store.get(lost)
    assert job
    assert job.state is State.CANCELLED


def test_a_worker_stops_only_what_it_was_asked_to(site: Site) -> None:
    """Neither a job that goes on, nor with another's token."""
    site.submit()
    job = site.claim()
    assert site.tell(job, "stop") == 409
    cancel(site, job["request_id"])
    assert site.tell(job | {"token": "another"}, "stop") == 409
    assert beat(site, job) == (200, {"cancelling": True})


def test_a_queued_job_is_cancelled_either_way(site: Site) -> None:
    """There is nothing to wait for."""
    job_id = site.submit()
    assert cancel(site, job_id)["outcome"] == "cancelled"
