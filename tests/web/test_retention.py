"""Nothing is kept for longer than it was promised, and nothing goes that is needed."""

from datetime import UTC, datetime, timedelta

from rotoscope.storage import Storage
from rotoscope.web.retention import held, sweep_uploads
from tests.web.conftest import Site


def after(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def upload(site: Site) -> str:
    answer = site.http.post("/v1/uploads", content=b"x", headers=site.client)
    return str(answer.json()["url"])


def files(storage: Storage, uri: str) -> tuple[bool, bool]:
    """Whether an upload's facts and its bytes are there."""
    upload_id = uri.rpartition("/")[2]
    return storage.upload(upload_id) is not None, storage.upload_file(upload_id) is not None


def test_an_upload_goes_when_its_time_is_over(site: Site) -> None:
    """Not before, and with its facts."""
    uri, storage = upload(site), site.parts.storage
    sweep_uploads(site.parts, after(23))
    assert files(storage, uri) == (True, True)

    sweep_uploads(site.parts, after(25))
    assert files(storage, uri) == (False, False)


def test_a_mark_without_a_job_holds_for_a_while(site: Site) -> None:
    """A submit that is under way has no row yet; one that crashed never will."""
    uri, storage = upload(site), site.parts.storage
    upload_id = uri.rpartition("/")[2]
    storage.hold_upload(upload_id, "never-queued")
    assert held(upload_id, site.parts, after(0.9))
    assert not held(upload_id, site.parts, after(1.1))


def test_an_upload_can_be_deleted(site: Site) -> None:
    """By its owner, once; to others it does not exist."""
    uri = upload(site)
    path = f"/v1/uploads/{uri.rpartition('/')[2]}"
    assert site.http.delete(path).status_code == 401
    assert site.http.delete(path, headers=site.other).status_code == 404
    assert files(site.parts.storage, uri) == (True, True)

    assert site.http.delete(path, headers=site.client).status_code == 204
    assert files(site.parts.storage, uri) == (False, False)
    again = site.http.delete(path, headers=site.client)
    assert (again.status_code, again.json()["error_code"]) == (404, 404001)


def test_no_result_has_a_dead_link(site: Site) -> None:
    """A result whose file is gone answers as an expired one does."""
    job_id = site.submit()
    site.finish(site.claim())
    assert site.result(job_id)["status"] == "succeeded"
    site.parts.storage.drop_outputs(job_id)
    answer = site.http.get(f"/v1/requests/{job_id}/result", headers=site.client)
    assert (answer.status_code, answer.json()["error_code"]) == (404, 404001)
