"""Pools: which jobs go where, who may take them, pausing one; and which workers are there."""

import httpx2
import pytest
from pydantic import ValidationError

from rotoscope.schema.input import MODEL_ID
from rotoscope.schema.worker import Presence
from rotoscope.settings import Settings
from rotoscope.web.affinity import affinity_of
from rotoscope.web.pools import pool_of
from rotoscope.web.presence import Presences
from tests.web.conftest import OpenSite, Site
from tests.worker.stand_ins import make_input

RULES = ("key:phone=small", f"{MODEL_ID}=large")


def claim(site: Site, **fields: object) -> httpx2.Response:
    message = {"worker_id": "gpu-0", "wait_s": 0} | fields
    return site.http.post("/v1/worker/claim", json=message, headers=site.worker)


def operate(site: Site, path: str) -> dict[str, dict[str, object]]:
    """The pools by name, after that call."""
    method = "POST" if path else "GET"
    answer = site.http.request(method, f"/v1/worker/pools{path}", headers=site.worker)
    assert answer.status_code == 200
    return {pool["name"]: pool for pool in answer.json()["pools"]}


@pytest.mark.parametrize(
    ("model_id", "key_name", "pool"),
    [
        (MODEL_ID, "phone", "small"),
        (MODEL_ID, "laptop", "large"),
        (MODEL_ID, "", "large"),
        ("another", "phone", "small"),
        ("another", "", "default"),
        ("key:phone", "", "small"),
    ],
)
def test_the_first_rule_that_fits_counts(model_id: str, key_name: str, pool: str) -> None:
    """Of a key's name or a model; without any it is the default."""
    assert pool_of(RULES, model_id, key_name) == pool


@pytest.mark.parametrize("rule", ["small", "=small", "key:=small", "key:phone=", "key:phone=a b"])
def test_a_rule_that_is_none_is_told(rule: str) -> None:
    """When the settings are read."""
    with pytest.raises(ValidationError, match="key:NAME=POOL"):
        Settings(pools=(rule,))


def test_a_worker_takes_its_pools_jobs_alone(open_site: OpenSite) -> None:
    """Jobs of other pools wait for others."""
    site = open_site(pools=("key:laptop=small",))
    job_id = site.submit()
    assert claim(site).status_code == 204
    assert claim(site, pool="large").status_code == 204
    assert claim(site, pool="small").json()["request_id"] == job_id


def test_a_workers_key_can_be_tied_to_a_pool(open_site: OpenSite) -> None:
    """It gets no job of another; the answer says where it may."""
    site = open_site(pools=("key:gpu=small",))
    refused = claim(site)
    assert (refused.status_code, refused.json()["error_code"]) == (403, 403001)
    assert "small" in refused.json()["error_message"]
    assert claim(site, pool="small").status_code == 204


def test_a_pool_is_paused_and_resumed(site: Site) -> None:
    """Submits are taken meanwhile; a running job goes on."""
    running, queued = site.submit(), site.submit()
    job = site.claim()
    told = operate(site, "/default/pause")["default"]
    assert (told["paused"], told["queued"], told["running"]) == (True, 1, 1)
    assert claim(site).status_code == 204
    site.submit()
    site.finish(job)
    assert site.status(running)["status"] == "completed"

    assert operate(site, "/default/resume")["default"]["paused"] is False
    assert site.claim()["request_id"] == queued
    assert operate(site, "")["default"]["queued"] == 1


def test_pools_are_the_operators_alone(site: Site) -> None:
    """A client's key neither sees nor pauses them; a name that is none is told."""
    assert site.http.get("/v1/worker/pools", headers=site.client).status_code == 403
    path = "/v1/worker/pools/default/pause"
    assert site.http.post(path, headers=site.client).status_code == 403
    wrong = site.http.post("/v1/worker/pools/%20/pause", headers=site.worker)
    assert wrong.status_code == 422


def test_workers_that_claim_or_beat_are_seen(site: Site) -> None:
    """With their pool and what they tell about themselves."""
    site.submit()
    facts = {"checkpoint": "mini", "gpu_memory_used_bytes": 7}
    job = claim(site, facts=facts).json()
    presence = {"worker_id": "gpu-1", "pool": "large", "facts": {}}
    assert site.tell(job, "heartbeat", presence=presence) == 204
    seen = {one.worker_id: (one.pool, one.facts) for one in site.parts.store.workers(60)}
    assert seen == {"gpu-0": ("default", facts), "gpu-1": ("large", {})}


def test_a_worker_is_noted_now_and_then(site: Site) -> None:
    """Its claims come each second; the table hears of it at most every ten."""
    now = [0.0]
    presences = Presences(lambda: now[0])
    written: list[str] = []

    class Store:
        def seen(self, worker_id: str, *_: object) -> None:
            written.append(worker_id)

    for second in range(21):
        now[0] = float(second)
        for worker_id in ("a", "b"):
            presences.note(Presence(worker_id=worker_id), Store())  # type: ignore[arg-type]
    assert written == ["a", "b"] * 3


def test_jobs_with_the_same_loras_are_alike() -> None:
    """In any order and at any scale; those of a name count too."""
    a, b = {"path": "owner/a"}, {"path": "owner/b"}
    both = affinity_of(make_input(loras=[a, b]))
    assert both == affinity_of(make_input(loras=[b, a | {"scale": 0.5}]))
    alone = {affinity_of(make_input(loras=[a])), affinity_of(make_input(loras=[a], ic_lora="pose"))}
    assert len({both, *alone}) == 3
    assert affinity_of(make_input()) == ""
    control = make_input(preprocessor="canny")
    assert affinity_of(control) == affinity_of(make_input(ic_lora="canny"))


def test_a_worker_is_given_what_it_has_at_hand(site: Site) -> None:
    """Somewhat before its turn; it is told how to call it."""
    first = site.submit(loras=[{"path": "owner/a"}])
    site.submit(loras=[{"path": "owner/b"}])
    again = site.submit(loras=[{"path": "owner/a"}])
    job = site.claim()
    assert job["request_id"] == first
    assert claim(site, loaded=[job["affinity"]]).json()["request_id"] == again
