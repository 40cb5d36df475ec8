"""A key's own requests: the list, and deleting one."""

import pytest

from tests.web.conftest import BODY, SUBMIT, OpenSite, Site

FAILURE = {"code": "internal_error", "message": "It broke.", "retryable": True}


def ids(site: Site, query: str = "") -> list[str]:
    return [one["request_id"] for one in site.get(f"/v1/requests{query}")["requests"]]


def one_of_each(site: Site) -> dict[str, str]:
    """A request in each state, by the word of it."""
    made = {"succeeded": site.submit()}
    site.finish(site.claim())
    made["failed"] = site.submit()
    site.tell(site.claim(), "fail", error=FAILURE)
    made["in_progress"] = site.submit()
    site.claim()
    made["cancelled"] = site.submit()
    site.http.post(f"/v1/requests/{made['cancelled']}/cancel", headers=site.client)
    made["in_queue"] = site.submit()
    return made


def test_the_list_is_the_keys_own_newest_first(site: Site) -> None:
    """Another key's requests are not in it."""
    mine = [site.submit() for _ in range(3)]
    theirs = site.http.post(SUBMIT, json=BODY, headers=site.other).json()["request_id"]

    assert ids(site) == mine[::-1]
    found = site.http.get("/v1/requests", headers=site.other).json()
    assert [one["request_id"] for one in found["requests"]] == [theirs]
    assert found["next_cursor"] is None
    assert set(found["requests"][0]) == {
        "request_id", "model_id", "status", "status_url", "result_url", "created_at",
    }  # fmt: skip


def test_the_list_is_filtered_by_status(site: Site) -> None:
    """By the words of either route; completed is both ways to end a run."""
    made = one_of_each(site)
    for word, job_id in made.items():
        (found,) = site.get(f"/v1/requests?status={word}")["requests"]
        assert (found["request_id"], found["status"]) == (job_id, word)
        assert ("error" in found) == (word == "failed")
        assert ("expires_at" in found) == (word in {"succeeded", "failed", "cancelled"})
    assert ids(site, "?status=completed") == [made["failed"], made["succeeded"]]
    assert ids(site, "?status=completed&limit=1") == [made["failed"]]


def test_pages_follow_each_other(site: Site) -> None:
    """Each request is on one page, also when others come or go meanwhile."""
    made = [site.submit() for _ in range(5)]
    seen, query = [], "?limit=2"
    for _ in range(3):
        page = site.get(f"/v1/requests{query}")
        seen += [one["request_id"] for one in page["requests"]]
        query = f"?limit=2&cursor={page['next_cursor']}"
        site.submit()
    assert seen == made[::-1]
    assert page["next_cursor"] is None


@pytest.mark.parametrize("query", ["cursor=x", "cursor=%F0", "cursor=_________8", "status=done",
                                   "limit=0", "limit=1001", "limit=many"])  # fmt: skip
def test_what_cannot_be_listed_is_told(site: Site, query: str) -> None:
    """By the parameter's name."""
    answer = site.http.get(f"/v1/requests?{query}", headers=site.client)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_an_ended_request_is_deleted_with_its_files(site: Site) -> None:
    """At once: row, input and files."""
    job_id = site.submit()
    site.finish(site.claim())
    video = site.result(job_id)["output"]["video"]

    assert site.http.delete(f"/v1/requests/{job_id}", headers=site.client).status_code == 204
    for path in (f"/v1/requests/{job_id}/status", f"/v1/requests/{job_id}/result", video):
        assert site.http.get(path, headers=site.client).status_code == 404
    again = site.http.delete(f"/v1/requests/{job_id}", headers=site.client)
    assert (again.status_code, again.json()["error_code"]) == (404, 404001)
    assert ids(site) == []


def test_a_queued_request_is_deleted(site: Site) -> None:
    """No worker gets it any more."""
    job_id = site.submit()
    assert site.http.delete(f"/v1/requests/{job_id}", headers=site.client).status_code == 204
    assert site.parts.store.claim("w") is None


def test_a_running_request_is_not_deleted(site: Site) -> None:
    """The answer says to cancel it first; then it works."""
    job_id = site.submit()
    job = site.claim()
    refused = site.http.delete(f"/v1/requests/{job_id}", headers=site.client)
    assert (refused.status_code, refused.json()["error_code"]) == (409, 409002)
    assert "cancel" in refused.json()["error_message"]

    site.http.post(f"/v1/requests/{job_id}/cancel?running=true", headers=site.client)
    assert site.http.delete(f"/v1/requests/{job_id}", headers=site.client).status_code == 409
    site.tell(job, "stop")
    assert site.http.delete(f"/v1/requests/{job_id}", headers=site.client).status_code == 204


def test_another_keys_request_is_not_deleted(site: Site) -> None:
    """Whoever knows its id."""
    job_id = site.submit()
    answer = site.http.delete(f"/v1/requests/{job_id}", headers=site.other)
    assert (answer.status_code, answer.json()["error_code"]) == (403, 403001)
    assert site.status(job_id)["status"] == "in_queue"


def test_nothing_expires_where_all_is_kept(open_site: OpenSite) -> None:
    """The list then says no time."""
    site = open_site(retention_days=0)
    job_id = site.submit()
    site.finish(site.claim())
    (found,) = site.get("/v1/requests")["requests"]
    assert found["request_id"] == job_id
    assert "expires_at" not in found
