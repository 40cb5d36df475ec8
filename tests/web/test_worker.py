"""The worker protocol, as a worker meets it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from rotoscope.schema.worker import Assignment
from rotoscope.web import worker as worker_routes
from tests.web.conftest import MANIFEST, MEDIA, Site

FAILURE = {"code": "internal_error", "message": "It broke.", "retryable": True}
FACTS = {"media": MEDIA, "metrics": {}, "manifest": MANIFEST}


def test_a_claim_hands_over_the_job(site: Site) -> None:
    """The assignment holds the input as it was sent, the lease and its beat."""
    job_id = site.submit(num_frames=33, match_video_length=False)
    answer = site.http.post("/v1/worker/claim", json={"worker_id": "w"}, headers=site.worker)
    job = Assignment.model_validate_json(answer.content)

    assert (job.request_id, job.attempt) == (job_id, 1)
    assert (job.lease_s, job.heartbeat_s) == (60, 15)
    assert (job.input.num_frames, job.input.match_video_length) == (33, False)


def test_an_empty_queue_is_204(site: Site) -> None:
    """A claim that waits for nothing is answered at once, without a body."""
    claim = {"worker_id": "w", "wait_s": 0}
    answer = site.http.post("/v1/worker/claim", json=claim, headers=site.worker)
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_waiting_claim_is_woken_by_a_submit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the re-check far away, it is the submit that answers the claim."""
    monkeypatch.setattr(worker_routes, "RECHECK_S", 1000.0)
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(site.claim, 60)
        job_id = site.submit()
        assert claim.result(30)["request_id"] == job_id


def test_waiting_claims_end_with_the_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends sends its waiting workers home at once."""
    monkeypatch.setattr(worker_routes, "RECHECK_S", 1000.0)
    claim = {"worker_id": "w", "wait_s": 60}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.http.post, "/v1/worker/claim", json=claim, headers=site.worker)
        site.parts.bell.close()
        assert answer.result(30).status_code == 204


def test_a_lost_lease_is_a_conflict(site: Site) -> None:
    """Once another attempt holds the job, each call of the first one is a 409."""
    site.submit()
    late = site.claim()
    key = site.store(late)
    site.clock.now += 61
    site.parts.store.reap()
    current = site.claim()
    path = f"/v1/worker/jobs/{late['request_id']}/files/out.mp4"
    headers = site.worker | {"Lease-Token": late["token"]}

    assert site.tell(late, "heartbeat") == 409
    assert site.tell(late, "succeed", file=key, **FACTS) == 409
    assert site.tell(late, "fail", error=FAILURE) == 409
    assert site.tell(late, "release") == 409
    assert site.http.put(path, content=b"x", headers=headers).status_code == 409
    site.finish(current)


def test_ends_may_be_repeated(site: Site) -> None:
    """A worker that lost the answer to its last call hears the same again."""
    site.submit()
    site.submit()
    failed = site.claim()
    assert [site.tell(failed, "fail", error=FAILURE) for _ in range(2)] == [204, 204]

    released = site.claim()
    assert [site.tell(released, "release") for _ in range(2)] == [204, 204]

    done = site.claim()
    key = site.store(done)
    assert [site.tell(done, "succeed", file=key, **FACTS) for _ in range(2)] == [204, 204]


def test_a_stored_file_is_hashed(site: Site) -> None:
    """The answer to a file says its size and hash, for the worker to compare."""
    site.submit()
    job = site.claim()
    path = f"/v1/worker/jobs/{job['request_id']}/files/out.mp4"
    headers = site.worker | {"Lease-Token": job["token"]}
    answer = site.http.put(path, content=b"abc", headers=headers)

    assert answer.status_code == 201
    assert answer.json()["size"] == 3
    assert answer.json()["sha256"].startswith("ba7816bf")


def test_a_file_has_a_plain_name(site: Site) -> None:
    """A name that is none is an input error, by its place."""
    site.submit()
    job = site.claim()
    path = f"/v1/worker/jobs/{job['request_id']}/files/.out"
    headers = site.worker | {"Lease-Token": job["token"]}
    answer = site.http.put(path, content=b"abc", headers=headers)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["path", "name"])


def test_a_file_over_the_limit_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that never ends does not fill the disk."""
    monkeypatch.setattr(worker_routes, "MOST_OUTPUT_BYTES", 10)
    site.submit()
    job = site.claim()
    path = f"/v1/worker/jobs/{job['request_id']}/files/out.mp4"
    headers = site.worker | {"Lease-Token": job["token"]}
    for content in (b"x" * 11, (b"xxxx" for _ in range(3))):
        assert site.http.put(path, content=content, headers=headers).status_code == 413


@pytest.mark.parametrize("key", ["", "keys.sqlite", "outputs/other/1-0/out.mp4"])
def test_a_success_names_a_file_of_its_job(site: Site, key: str) -> None:
    """A job cannot end with a file that was not stored for it."""
    site.submit()
    job = site.claim()
    assert site.tell(job, "succeed", file=key, **FACTS) == 422
    assert site.tell(job, "succeed", file=f"outputs/{job['request_id']}/1-0/x", **FACTS) == 422
    assert site.tell(job, "heartbeat") == 204


def test_a_control_video_is_stored_and_linked(site: Site) -> None:
    """It has a URL of its own beside the result's, and goes when the result goes."""
    site.submit()
    job = site.claim()
    stray, key, control = site.store(job), site.store(job), site.store(job, b"control")
    facts = FACTS | {"control": {"file": control, "media": MEDIA}}
    assert site.tell(job, "succeed", file=key, **facts) == 204

    result = site.result(job["request_id"])
    assert result["control"]["media"]["frames"] == MEDIA["frames"]
    assert site.http.get(result["control"]["video"]).content == b"control"
    assert site.http.get(result["output"]["video"]).content == b"0123456789"
    assert site.parts.storage.output(stray) is None
    site.parts.storage.drop_outputs(job["request_id"])
    assert site.http.get(result["control"]["video"]).status_code == 404


def test_without_a_preprocessor_there_is_no_control(site: Site) -> None:
    """The field is left out, not null."""
    site.submit()
    job = site.claim()
    site.finish(job)
    assert "control" not in site.result(job["request_id"])


@pytest.mark.parametrize("key", ["", "outputs/other/1-0/out.mp4"])
def test_a_control_video_is_a_file_of_its_job(site: Site, key: str) -> None:
    """As the result itself."""
    site.submit()
    job = site.claim()
    facts = FACTS | {"control": {"file": key, "media": MEDIA}}
    assert site.tell(job, "succeed", file=site.store(job), **facts) == 422
    assert site.tell(job, "heartbeat") == 204


def test_the_last_file_of_a_job_is_kept_alone(site: Site) -> None:
    """A result that was sent twice is kept once; a failed job keeps none."""
    site.submit()
    job = site.claim()
    first = site.store(job)
    site.finish(job)
    assert site.parts.storage.output(first) is None

    site.submit()
    job = site.claim()
    key = site.store(job)
    site.tell(job, "fail", error=FAILURE)
    assert site.parts.storage.output(key) is None


def test_a_worker_reads_uploads(site: Site) -> None:
    """The bytes of a client's upload reach the worker; unknown ones are a 404."""
    uri = site.http.post("/v1/uploads", content=b"video", headers=site.client).json()["url"]
    path = "/v1/worker/uploads/" + uri.rpartition("/")[2]

    assert site.http.get(path, headers=site.worker).content == b"video"
    missing = site.http.get("/v1/worker/uploads/nothing", headers=site.worker)
    assert (missing.status_code, missing.json()["error_code"]) == (404, 404001)


def test_messages_are_checked(site: Site) -> None:
    """A message that does not fit is told by field, as a client's body is."""
    answer = site.http.post("/v1/worker/claim", json={"wait_s": 61}, headers=site.worker)
    places = [entry["loc"] for entry in answer.json()["detail"]]
    assert (answer.status_code, places) == (422, [["body", "worker_id"], ["body", "wait_s"]])
