"""Who is let in, as what."""

from pathlib import Path

import pytest

from rotoscope.errors import OperatorError
from rotoscope.keys import KeyStore
from rotoscope.settings import Settings
from rotoscope.web.auth import check_exposure
from tests.web.conftest import BODY, SUBMIT, OpenSite, Site, bearer

LOOPBACK = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic abc", "Key abc", "Bearer roto_x_y", "Bearer é"],
)
def test_a_missing_or_wrong_token_is_refused(site: Site, header: str | None) -> None:
    """Each is a 401 that names the scheme."""
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = site.http.get("/v1/models", headers=headers)  # type: ignore[arg-type] # bytes are taken too
    assert (answer.status_code, answer.json()["error_code"]) == (401, 400004)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "call",
    [
        f"POST {SUBMIT}",
        "GET /v1/models",
        "GET /v1/models/categories",
        f"GET {SUBMIT}",
        "GET /v1/requests/x/status",
        "GET /v1/requests/x/result",
        "POST /v1/requests/x/cancel",
        "POST /v1/uploads",
        "GET /v1/uploads/x",
        "POST /v1/worker/claim",
        "PUT /v1/worker/jobs/x/files/y",
        "GET /v1/worker/uploads/x",
    ],
)
def test_every_route_asks_for_a_key_first(site: Site, call: str) -> None:
    """Without a key nothing else about the request is looked at."""
    method, path = call.split()
    assert site.http.request(method, path).status_code == 401


def test_a_revoked_key_is_refused_at_once(site: Site) -> None:
    """The request after the revoke is a 401."""
    site.keys.revoke(site.client["Authorization"].split("_")[1])
    assert site.http.get("/v1/models", headers=site.client).status_code == 401


def test_roles_are_kept_apart(site: Site) -> None:
    """A worker's key submits nothing, a client's key claims nothing."""
    claim = {"worker_id": "w", "wait_s": 0}
    for answer in (
        site.http.post(SUBMIT, json=BODY, headers=site.worker),
        site.http.post("/v1/worker/claim", json=claim, headers=site.client),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (403, 403001)


def test_the_key_given_at_start_is_a_workers(site: Site) -> None:
    """The extra key works, for the worker's routes only."""
    given = bearer("given-at-start")
    claim = {"worker_id": "w", "wait_s": 0}
    assert site.http.post("/v1/worker/claim", json=claim, headers=given).status_code == 204
    assert site.http.get("/v1/models", headers=given).status_code == 401


def test_without_keys_requests_are_anonymous(open_site: OpenSite) -> None:
    """If the operator says so, a request without a token has an owner of its own."""
    site = open_site(LOOPBACK, anonymous=True)
    answer = site.http.post(SUBMIT, json=BODY)
    path = f"/v1/requests/{answer.json()['request_id']}/status"

    assert site.http.get(path).status_code == 200
    assert site.http.get(path, headers=site.client).status_code == 403


def test_a_token_that_is_sent_must_be_right(open_site: OpenSite) -> None:
    """Anonymous mode forgives no wrong token, and opens no worker's route."""
    site = open_site(LOOPBACK, anonymous=True)
    assert site.http.get("/v1/models", headers=bearer("roto_a_b")).status_code == 401
    claim = {"worker_id": "w", "wait_s": 0}
    assert site.http.post("/v1/worker/claim", json=claim).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8000", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_anonymous_requests_ask_for_a_loopback_name(
    open_site: OpenSite, host: str, status: int
) -> None:
    """A name that was made to resolve to this machine is refused (DNS rebinding)."""
    site = open_site(LOOPBACK, anonymous=True)
    assert site.http.get("/v1/models", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:3000", 200), ("https://evil.example", 403), ("null", 403)],
)
def test_other_sites_pages_do_not_act_anonymously(
    open_site: OpenSite, origin: str, status: int
) -> None:
    """A form on a web page elsewhere uploads nothing here."""
    site = open_site(LOOPBACK, anonymous=True)
    answer = site.http.post("/v1/uploads", content=b"x", headers={"Origin": origin})
    assert answer.status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_no_key_is_needed(tmp_path: Path, host: str) -> None:
    """A server that only this machine reaches may start without keys."""
    with KeyStore(tmp_path) as keys:
        for anonymous in (False, True):
            settings = Settings(data_dir=tmp_path, host=host, anonymous=anonymous)
            check_exposure(settings, keys)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_elsewhere_a_client_key_is_needed(tmp_path: Path, host: str) -> None:
    """A server that others reach starts with a client key only, and never without keys."""
    with KeyStore(tmp_path) as keys:
        open_to_all = Settings(data_dir=tmp_path, host=host)
        keys.create("gpu", "worker")
        with pytest.raises(OperatorError, match="make a client key first"):
            check_exposure(open_to_all, keys)
        keys.create("laptop")
        check_exposure(open_to_all, keys)
        with pytest.raises(OperatorError, match="anonymous to false"):
            check_exposure(open_to_all.model_copy(update={"anonymous": True}), keys)
