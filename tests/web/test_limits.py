"""How much may be submitted, and what is told to those who ask for more."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.web.conftest import BODY, SUBMIT, OpenSite, Site
from tests.web.test_terms import limit


def post(site: Site, headers: dict[str, str]) -> httpx2.Response:
    return site.http.post(SUBMIT, json=BODY, headers=headers)


@pytest.mark.parametrize("gap_s", [10.0, 7.3])
def test_submits_a_minute_are_limited(site: Site, gap_s: float) -> None:
    """Retry-After is the first whole second at which the next one is taken."""
    limit(site, per_minute=3)
    for _ in range(3):
        assert post(site, site.client).status_code == 200
        site.clock.now += gap_s
    refused = post(site, site.client)
    assert (refused.status_code, refused.json()["error_code"]) == (429, 429001)
    assert post(site, site.other).status_code == 200

    wait_s = int(refused.headers["Retry-After"])
    site.clock.now += wait_s - 1
    assert post(site, site.client).status_code == 429
    site.clock.now += 1
    assert post(site, site.client).status_code == 200
    assert post(site, site.client).status_code == 429


def test_submits_at_once_do_not_overshoot(site: Site) -> None:
    """The limit holds when all of them come at the same time."""
    limit(site, per_minute=2)
    with ThreadPoolExecutor(6) as pool:
        codes = [one.status_code for one in pool.map(lambda _: post(site, site.client), range(6))]
    assert sorted(codes) == [200, 200, 429, 429, 429, 429]


def test_queued_jobs_are_limited(site: Site) -> None:
    """Those that run or have ended do not count, nor another key's."""
    limit(site, max_queued=2)
    assert [post(site, site.client).status_code for _ in range(3)] == [200, 200, 429]
    refused = post(site, site.client)
    assert refused.json()["error_code"] == 429001
    assert int(refused.headers["Retry-After"]) > 0
    assert post(site, site.other).status_code == 200
    site.claim()
    assert post(site, site.client).status_code == 200


def test_running_jobs_are_limited(site: Site) -> None:
    """A key's further jobs wait while it has as many running as it may."""
    limit(site, max_running=1)
    first, second = site.submit(), site.submit()
    theirs = post(site, site.other).json()["request_id"]
    job = site.claim()
    assert [job["request_id"], site.claim()["request_id"]] == [first, theirs]
    claim = {"worker_id": "gpu-0", "wait_s": 0}
    idle = site.http.post("/v1/worker/claim", json=claim, headers=site.worker)
    assert idle.status_code == 204
    site.finish(job)
    assert site.claim()["request_id"] == second


def test_many_jobs_of_one_key_hold_up_no_other(site: Site) -> None:
    """Another key's single job is the next but one at most; a weight of two gets two turns."""
    for _ in range(20):
        site.submit()
    theirs = post(site, site.other).json()["request_id"]
    assert theirs in [site.claim()["request_id"] for _ in range(2)]


def test_a_full_queue_is_told(open_site: OpenSite) -> None:
    """With when to come back."""
    site = open_site(max_queue=1)
    site.submit()
    refused = post(site, site.client)
    assert (refused.status_code, refused.json()["error_code"]) == (503, 503001)
    assert int(refused.headers["Retry-After"]) > 0


def test_an_ending_server_takes_no_jobs(site: Site) -> None:
    """It says to come back, and whoever balances the load sees it too."""
    site.parts.bell.close()
    refused = post(site, site.client)
    assert (refused.status_code, refused.json()["error_code"]) == (503, 503001)
    assert int(refused.headers["Retry-After"]) > 0
    assert site.http.get("/readyz").status_code == 503
