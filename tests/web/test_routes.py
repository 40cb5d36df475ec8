"""The Model API as a client meets it, from submit to result."""

import re
from datetime import datetime, timedelta

import pytest

from rotoscope.jobs.job import State
from tests.web.conftest import BODY, MANIFEST, MEDIA, SUBMIT, OpenSite, Site

PROGRESS = {
    "stage": "denoise",
    "stages": ["fetch", "denoise"],
    "step": 3,
    "steps": 8,
    "fraction": 0.5,
    "eta_s": 4.0,
}
WARNING = {"field": "num_frames", "asked": 120, "used": 121, "why": "snapped to 8k+1"}
FAILURE = {
    "code": "video_too_short",
    "message": "The video has 3 frames; 9 are needed.",
    "field": "video_url",
    "retryable": False,
}


def test_a_submit_answers_an_id_and_three_urls(site: Site) -> None:
    """The answer holds exactly what the contract lists, as absolute URLs."""
    answer = site.http.post(SUBMIT, json=BODY, headers=site.client)
    found = answer.json()
    base = f"http://testserver/v1/requests/{found['request_id']}"

    assert answer.status_code == 200
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", found["request_id"])
    assert found == {
        "request_id": found["request_id"],
        "status_url": f"{base}/status",
        "result_url": f"{base}/result",
        "cancel_url": f"{base}/cancel",
    }


def test_a_queued_job_tells_its_place(site: Site) -> None:
    """Positions are counted from 1, and the fields of later states are absent."""
    first, second = site.submit(), site.submit()

    assert site.status(first)["queue_position"] == 1
    assert site.status(second) == {
        "request_id": second,
        "status": "in_queue",
        "queue_position": 2,
        "status_url": f"http://testserver/v1/requests/{second}/status",
        "result_url": f"http://testserver/v1/requests/{second}/result",
    }


def test_a_running_job_tells_its_progress(site: Site) -> None:
    """What the worker's heartbeat said is in the next status, and there is no position."""
    job_id = site.submit()
    job = site.claim()
    assert site.tell(job, "heartbeat", progress=PROGRESS, warnings=[WARNING]) == 204

    status = site.status(job_id)

    assert (status["status"], status["progress"]) == ("in_progress", PROGRESS | {"preview": None})
    assert status["warnings"] == [WARNING]
    assert "queue_position" not in status
    assert site.result(job_id)["status"] == "in_progress"


def test_a_job_that_worked_is_completed_and_succeeded(site: Site) -> None:
    """The two routes use their own words, and the result holds the video and its facts."""
    job_id = site.submit()
    site.finish(site.claim())

    status, result = site.status(job_id), site.result(job_id)

    assert status["status"] == "completed"
    assert result["status"] == "succeeded"
    assert set(status) == {"request_id", "status", "status_url", "result_url"}
    assert list(result["output"]) == ["video"]
    assert site.http.get(result["output"]["video"]).content == b"0123456789"
    assert (result["media"], result["manifest"]) == (MEDIA, MANIFEST)
    assert result["metrics"] == {"denoise": 1.5}
    assert "error" not in result


def test_a_job_that_failed_is_completed_and_failed(site: Site) -> None:
    """The reason stands on both routes, and there is no output."""
    job_id = site.submit()
    assert site.tell(site.claim(), "fail", error=FAILURE) == 204

    status, result = site.status(job_id), site.result(job_id)

    assert (status["status"], status["error"]) == ("completed", FAILURE)
    assert (result["status"], result["error"]) == ("failed", FAILURE)
    assert "output" not in result


def test_an_unfinished_result_is_still_an_answer(site: Site) -> None:
    """The result route answers 200 from the start, with the state and no end."""
    job_id = site.submit()
    result = site.result(job_id)
    assert set(result) == {"request_id", "status", "created_at", "finished_at"}
    assert (result["status"], result["finished_at"]) == ("in_queue", None)


def test_times_are_utc_with_microseconds(site: Site) -> None:
    """Both times are ISO 8601 with an offset of zero and six digits."""
    job_id = site.submit()
    site.finish(site.claim())
    result = site.result(job_id)
    for name in ("created_at", "finished_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", result[name])
        assert datetime.fromisoformat(result[name]).utcoffset() == timedelta(0)


def test_the_cost_is_told_on_request(site: Site) -> None:
    """A run costs nothing here; the number is there only when asked for."""
    job_id = site.submit()
    assert site.get(f"/v1/requests/{job_id}/result?include_cost=true")["cost"] == 0
    assert "cost" not in site.get(f"/v1/requests/{job_id}/result?include_cost=false")


def test_a_queued_job_is_cancelled(site: Site) -> None:
    """A cancel that worked says so in both words, also when repeated, and the job stays so."""
    job_id = site.submit()
    for _ in range(2):
        answer = site.http.post(f"/v1/requests/{job_id}/cancel", headers=site.client)
        assert answer.status_code == 202
        assert answer.json() == {
            "request_id": job_id,
            "status": "cancelled",
            "outcome": "cancelled",
        }
    assert site.status(job_id)["status"] == site.result(job_id)["status"] == "cancelled"


@pytest.mark.parametrize(("ended", "word"), [(False, "in_progress"), (True, "completed")])
def test_a_started_job_is_not_cancelled(site: Site, ended: bool, word: str) -> None:
    """A running or ended job goes on as it was, and the answer is no error."""
    job_id = site.submit()
    job = site.claim()
    if ended:
        site.finish(job)

    answer = site.http.post(f"/v1/requests/{job_id}/cancel", headers=site.client)

    assert answer.status_code == 202
    assert answer.json() == {"request_id": job_id, "status": word, "outcome": "not_cancellable"}
    assert site.status(job_id)["status"] == word


@pytest.mark.parametrize("call", ["GET status", "GET result", "POST cancel"])
def test_another_keys_request_is_refused(site: Site, call: str) -> None:
    """Only the owner's keys reach a request, whoever knows its id."""
    method, verb = call.split()
    path = f"/v1/requests/{site.submit()}/{verb}"
    answer = site.http.request(method, path, headers=site.other)
    assert (answer.status_code, answer.json()["error_code"]) == (403, 403001)


@pytest.mark.parametrize("call", ["GET status", "GET result", "POST cancel"])
@pytest.mark.parametrize("job_id", ["unknown", "a" * 129, "%20", "..%2f", "%00"])
def test_an_unknown_request_is_told(site: Site, call: str, job_id: str) -> None:
    """An id that was never given, or cannot be one, is a 404 of its own code."""
    method, verb = call.split()
    answer = site.http.request(method, f"/v1/requests/{job_id}/{verb}", headers=site.client)
    assert answer.status_code == 404
    assert answer.json()["error_code"] in (404001, 404009)
    assert answer.json()["error_code"] == 404001 or "%2f" in job_id


def test_a_rotated_key_reaches_its_requests(site: Site) -> None:
    """The successor of a key owns what the old key submitted."""
    job_id = site.submit()
    token = site.client["Authorization"].removeprefix("Bearer ")
    new = site.keys.rotate(token.split("_")[1], timedelta(0))

    def read(headers: dict[str, str]) -> int:
        return site.http.get(f"/v1/requests/{job_id}/status", headers=headers).status_code

    assert read({"Authorization": f"Bearer {new.token}"}) == 200
    assert read(site.client) == 401


@pytest.mark.parametrize("model_id", ["", "nope", "ltx/ltx-2-19b", "ltx//x", "categories"])
def test_an_unknown_model_is_told(site: Site, model_id: str) -> None:
    """A model that is not here is a 404 with the code for model ids."""
    answer = site.http.post(f"/v1/models/{model_id}", json=BODY, headers=site.client)
    assert (answer.status_code, answer.json()["error_code"]) == (404, 400001)


def test_a_body_that_is_not_json_is_told(site: Site) -> None:
    """Broken JSON is a 400, not a list of wrong fields."""
    headers = site.client | {"Content-Type": "application/json"}
    answer = site.http.post(SUBMIT, content=b'{"prompt": ', headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, 422001)


@pytest.mark.parametrize("kind", [None, "text/plain", "multipart/form-data; boundary=x"])
def test_only_json_is_taken(site: Site, kind: str | None) -> None:
    """A body of another type is refused before it is read."""
    headers = site.client | ({"Content-Type": kind} if kind else {})
    answer = site.http.post(SUBMIT, content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (415, 415001)


def test_a_charset_beside_the_type_is_fine(site: Site) -> None:
    """Clients that name the charset of their JSON are understood."""
    headers = site.client | {"Content-Type": "Application/JSON; charset=utf-8"}
    content = b'{"prompt": "a", "video_url": "https://example.org/a.mp4", "loras": []}'
    assert site.http.post(SUBMIT, content=content, headers=headers).status_code == 200


def test_a_body_over_the_limit_is_refused(open_site: OpenSite) -> None:
    """The limit holds whether the length is declared or the bytes just come."""
    site = open_site(max_body_bytes=1000)
    headers = site.client | {"Content-Type": "application/json"}
    pieces = (b"x" * 400 for _ in range(5))
    for answer in (
        site.http.post(SUBMIT, content=b"x" * 1001, headers=headers),
        site.http.post(SUBMIT, content=pieces, headers=headers),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (413, 413001)
    assert site.http.post(SUBMIT, json=BODY, headers=headers).status_code == 200


def test_every_wrong_field_is_in_one_answer(site: Site) -> None:
    """The detail lists each field by its place, its mistake and what was sent."""
    body = BODY | {"prompt": "", "fps": 61, "promt": "x"}
    answer = site.http.post(SUBMIT, json=body, headers=site.client)
    found = answer.json()

    assert (answer.status_code, found["error_code"]) == (422, 422001)
    assert [entry["loc"] for entry in found["detail"]] == [
        ["body", "prompt"],
        ["body", "fps"],
        ["body", "promt"],
    ]
    assert all({"msg", "type"} <= set(entry) for entry in found["detail"])
    assert found["detail"][1]["input"] == 61


def test_a_number_that_is_none_is_told_as_json(site: Site) -> None:
    """An answer about NaN is itself readable JSON."""
    headers = site.client | {"Content-Type": "application/json"}
    answer = site.http.post(SUBMIT, content=b'{"prompt": NaN}', headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "prompt"]


def test_a_full_queue_says_when_to_come_back(open_site: OpenSite) -> None:
    """Past the limit of queued jobs a submit is a 503 with a time to wait, until there is room."""
    site = open_site(max_queue=1)
    site.submit()
    answer = site.http.post(SUBMIT, json=BODY, headers=site.client)
    assert (answer.status_code, answer.json()["error_code"]) == (503, 503001)
    assert int(answer.headers["Retry-After"]) > 0

    site.claim()
    site.submit()


def test_an_ending_server_takes_no_jobs(site: Site) -> None:
    """While the server drains, a submit is told to come back, and readiness says so too."""
    site.parts.bell.close()
    for answer in (
        site.http.post(SUBMIT, json=BODY, headers=site.client),
        site.http.get("/readyz?workers=0"),
    ):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0


def test_the_status_never_shows_a_queued_job_without_a_place(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is claimed between the two reads is shown as running."""
    job_id = site.submit()
    store = site.parts.store
    position = store.position

    def claimed_meanwhile(asked: str) -> int | None:
        store.claim("gpu-0")
        return position(asked)

    monkeypatch.setattr(store, "position", claimed_meanwhile)
    status = site.status(job_id)
    assert (status["status"], "queue_position" in status) == ("in_progress", False)


def test_a_cancelled_job_is_never_claimed(site: Site) -> None:
    """What was withdrawn is skipped; the next in line comes first."""
    withdrawn, next_one = site.submit(), site.submit()
    site.http.post(f"/v1/requests/{withdrawn}/cancel", headers=site.client)

    assert site.claim()["request_id"] == next_one
    job = site.parts.store.get(withdrawn)
    assert job is not None
    assert job.state is State.CANCELLED
