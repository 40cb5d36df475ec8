"""What a submit's headers ask: no doubles, a deadline, a priority, to wait for the end."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
import pytest

from rotoscope.jobs.job import Job
from rotoscope.keys import Limits
from rotoscope.web import waiting
from tests.web.conftest import BODY, SUBMIT, OpenSite, Site

IDEMPOTENT = {"Idempotency-Key": "order-17"}


def post(site: Site, headers: dict[str, str], **fields: object) -> httpx2.Response:
    return site.http.post(SUBMIT, json=BODY | fields, headers=site.client | headers)


def job_of(site: Site, answer: httpx2.Response) -> Job:
    job = site.parts.store.get(answer.json()["request_id"])
    assert job
    return job


def limit(site: Site, **limits: object) -> None:
    """Hold the client's key to `limits`."""
    owner = next(key.owner for key in site.keys.list() if key.name == "laptop")
    site.keys.set_limits(owner, replace(Limits(), **limits))  # type: ignore[arg-type]


def test_a_repeated_submit_finds_its_request(site: Site) -> None:
    """Also where the JSON is written another way; and it says so."""
    first, again = post(site, IDEMPOTENT), post(site, IDEMPOTENT)
    content = b'{"loras":[],\n "video_url":"https://example.org/a.mp4","prompt":"a red bicycle"}'
    headers = site.client | IDEMPOTENT | {"Content-Type": "application/json"}
    other_words = site.http.post(SUBMIT, content=content, headers=headers)

    assert first.json() == again.json() == other_words.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other_words.headers["Idempotent-Replayed"] == "true"
    assert site.parts.store.waiting() == 1


def test_an_idempotency_key_stands_for_one_body(site: Site) -> None:
    """Another body is refused, whatever has become of the first; another's key is another's."""
    first = post(site, IDEMPOTENT)
    site.finish(site.claim())
    refused = post(site, IDEMPOTENT, prompt="a blue bicycle")
    assert (refused.status_code, refused.json()["error_code"]) == (409, 409003)
    assert post(site, IDEMPOTENT).json() == first.json()
    theirs = site.http.post(SUBMIT, json=BODY, headers=site.other | IDEMPOTENT)
    assert theirs.json()["request_id"] != first.json()["request_id"]


def test_an_idempotency_key_ends_after_a_day(site: Site) -> None:
    """Then it may stand for something else."""
    first = post(site, IDEMPOTENT)
    site.clock.now += 24 * 3600 + 1
    later = post(site, IDEMPOTENT, prompt="a blue bicycle")
    assert later.status_code == 200
    assert "Idempotent-Replayed" not in later.headers
    assert later.json()["request_id"] != first.json()["request_id"]


def test_two_submits_at_once_make_one_request(site: Site) -> None:
    """However many come: one made it, and the others found it."""
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda _: post(site, IDEMPOTENT), range(6)))
    assert len({answer.json()["request_id"] for answer in told}) == 1
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in told]
    assert sorted(map(str, replayed)) == ["None", *["true"] * 5]


def test_a_repeated_submit_counts_against_no_limit(open_site: OpenSite) -> None:
    """Its answer was lost, and the queue has filled up since."""
    site = open_site(max_queue=1)
    limit(site, per_minute=1)
    first = post(site, IDEMPOTENT)
    assert post(site, {}).status_code == 503
    assert post(site, IDEMPOTENT).json() == first.json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "two words"),
        ("Idempotency-Key", "x" * 256),
        ("X-Deadline-Seconds", "0"),
        ("X-Deadline-Seconds", "nan"),
        ("X-Deadline-Seconds", "soon"),
        ("X-Deadline-Seconds", "604801"),
        ("X-Priority", "high"),
    ],
)
def test_a_header_that_makes_no_sense_is_told(site: Site, name: str, value: str) -> None:
    """By its name; nothing is queued."""
    answer = post(site, {name: value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", name.lower()]
    assert site.parts.store.waiting() == 0


def test_a_job_that_has_not_started_by_its_deadline_is_cancelled(site: Site) -> None:
    """With the reason; one that has started goes on."""
    late = post(site, {"X-Deadline-Seconds": "30"}).json()["request_id"]
    site.clock.now += 29
    site.parts.store.reap()
    assert site.status(late)["status"] == "in_queue"
    started = post(site, {"X-Deadline-Seconds": "0.5"}).json()["request_id"]
    site.http.post(f"/v1/requests/{late}/cancel", headers=site.other)
    site.clock.now += 0.4
    claimed = {site.claim()["request_id"], site.claim()["request_id"]}
    assert claimed == {late, started}

    missed = post(site, {"X-Deadline-Seconds": "30"}).json()["request_id"]
    site.clock.now += 31
    site.parts.store.reap()
    assert site.status(started)["status"] == "in_progress"
    result = site.result(missed)
    assert (result["status"], result["error"]["code"]) == ("cancelled", "deadline_exceeded")


def test_low_priority_waits_for_normal(site: Site) -> None:
    """Whatever came first."""
    low = post(site, {"X-Priority": "low"})
    normal = post(site, {"X-Priority": "normal"})
    unsaid = post(site, {})
    claimed = [site.claim()["request_id"] for _ in range(3)]
    assert claimed == [answer.json()["request_id"] for answer in (normal, unsaid, low)]


def test_a_key_that_is_limited_to_low_stays_low(site: Site) -> None:
    """A warning says so where normal was asked for."""
    limit(site, priority="low")
    asked, unsaid = post(site, {"X-Priority": "normal"}), post(site, {})
    assert [job_of(site, answer).priority for answer in (asked, unsaid)] == [-1, -1]
    (warning,) = asked.json()["warnings"]
    assert (warning["field"], warning["asked"], warning["used"]) == ("X-Priority", "normal", "low")
    assert site.status(asked.json()["request_id"])["warnings"] == [warning]
    assert "warnings" not in unsaid.json()


def test_a_submit_waits_for_its_result(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered as /result is, and says for how long it was ready to wait."""
    monkeypatch.setattr(waiting, "LOOK_S", 0.01)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, site, {"Prefer": "respond-async, wait=59"})
        site.finish(site.claim(wait_s=30))
        told = answer.result()
    assert told.status_code == 200
    assert told.headers["Preference-Applied"] == "wait=59"
    assert told.json() == site.result(told.json()["request_id"])
    assert told.json()["status"] == "succeeded"


@pytest.mark.parametrize(("asked", "applied"), [("wait=0", "wait=0"), ('Wait="0"; x=1', "wait=0")])
def test_a_wait_that_is_over_answers_as_a_submit(site: Site, asked: str, applied: str) -> None:
    """The job goes on, and its URLs are told."""
    answer = post(site, {"Prefer": asked})
    assert answer.headers["Preference-Applied"] == applied
    assert {"request_id", "status_url", "result_url", "cancel_url"} == set(answer.json())


def test_nobody_waits_longer_than_a_minute(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was applied is told; a wait that is none is passed over."""
    monkeypatch.setattr(waiting, "MOST_S", 0)
    assert post(site, {"Prefer": "wait=3600"}).headers["Preference-Applied"] == "wait=0"
    for prefer in ("wait", "wait=-1", "wait=1.5", "return=minimal"):
        assert "Preference-Applied" not in post(site, {"Prefer": prefer}).headers
