"""Nothing is kept for longer than it was promised, and nothing goes that is needed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import NoReturn

import anyio
import pytest
from structlog.testing import capture_logs

from rotoscope.errors import UnavailableError
from rotoscope.jobs.job import Job
from rotoscope.storage import Storage
from rotoscope.web import retention
from rotoscope.web.retention import (
    drop_everything,
    held,
    retaining,
    sweep_expired,
    sweep_orphans,
    sweep_uploads,
)
from tests.web.conftest import OpenSite, Site

FAILURE = {"code": "internal_error", "message": "It broke.", "retryable": True}
WEEK_S = 7 * 24 * 3600
UNAVAILABLE = UnavailableError("away", retry_after_s=1)


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


def finished(site: Site) -> tuple[str, str]:
    """A request that succeeded, and its result's URL."""
    job_id = site.submit()
    site.finish(site.claim())
    return job_id, str(site.result(job_id)["output"]["video"])


def answers(site: Site, job_id: str, url: str) -> list[int]:
    """What status, result and file answer."""
    path = f"/v1/requests/{job_id}"
    paths = (f"{path}/status", f"{path}/result", url)
    return [site.http.get(path, headers=site.client).status_code for path in paths]


def outputs(site: Site) -> list[str]:
    return list(site.parts.storage.jobs(older_than=after(1)))


def test_an_ended_request_expires(site: Site) -> None:
    """After seven days it is unknown, with its row and its files; not a minute before."""
    job_id, url = finished(site)
    site.clock.now += WEEK_S - 60
    sweep_expired(site.parts, after(0))
    assert answers(site, job_id, url) == [200, 200, 200]

    site.clock.now += 120
    sweep_expired(site.parts, after(0))
    assert answers(site, job_id, url) == [404, 404, 404]
    status = site.http.get(f"/v1/requests/{job_id}/status", headers=site.client)
    assert status.json()["error_code"] == 404001
    assert site.parts.store.get(job_id) is None
    assert not outputs(site)


def test_every_end_expires(site: Site) -> None:
    """A failed and a cancelled request too."""
    failed = site.submit()
    site.tell(site.claim(), "fail", error=FAILURE)
    cancelled = site.submit()
    site.http.post(f"/v1/requests/{cancelled}/cancel", headers=site.client)
    site.clock.now += WEEK_S + 1
    sweep_expired(site.parts, after(0))
    assert site.parts.store.get(failed) is None
    assert site.parts.store.get(cancelled) is None


def test_what_has_not_ended_does_not_expire(site: Site) -> None:
    """However long it waits or runs; what it stored is still there when it succeeds."""
    running = site.submit()
    job = site.claim()
    key = site.store(job)
    waiting = site.submit()
    site.clock.now += 50
    for _ in range(3):
        assert site.tell(job, "heartbeat") == 204
        sweep_expired(site.parts, after(0))
        sweep_orphans(site.parts, after(10_000))
        site.clock.now += 50
    assert not drop_everything(known(site, running), site.parts)
    assert not drop_everything(known(site, waiting), site.parts)
    site.finish(job)
    assert site.status(running)["status"] == "completed"
    assert site.status(waiting)["status"] == "in_queue"
    assert site.parts.storage.output(key) is None, "the first of two files is not the result"


def known(site: Site, job_id: str) -> Job:
    job = site.parts.store.get(job_id)
    assert job is not None
    return job


def test_nothing_expires_where_the_operator_says_so(open_site: OpenSite) -> None:
    """retention_days 0 keeps everything."""
    site = open_site(retention_days=0)
    job_id, url = finished(site)
    site.clock.now += 1000 * WEEK_S
    sweep_expired(site.parts, after(0))
    assert answers(site, job_id, url) == [200, 200, 200]


def test_a_request_is_dropped_at_once(site: Site) -> None:
    """Files and row, before its time; another's stay."""
    (job_id, url), (other, other_url) = finished(site), finished(site)
    assert drop_everything(known(site, job_id), site.parts)
    assert answers(site, job_id, url) == [404, 404, 404]
    assert answers(site, other, other_url) == [200, 200, 200]


def test_a_crash_between_files_and_row_is_made_good(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer shows a dead link, and a later sweep removes the row."""
    job_id, url = finished(site)
    site.clock.now += WEEK_S + 1
    with monkeypatch.context() as crashing:
        crashing.setattr(site.parts.store, "forget", raising(OSError("crash")))
        with pytest.raises(OSError, match="crash"):
            sweep_expired(site.parts, after(0))
    assert answers(site, job_id, url)[1:] == [404, 404]

    site.clock.now += 61
    sweep_expired(site.parts, after(0))
    assert answers(site, job_id, url) == [404, 404, 404]


def test_a_row_stays_until_its_files_are_gone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the storage is away nothing is forgotten."""
    job_id, url = finished(site)
    site.clock.now += WEEK_S + 1
    with monkeypatch.context() as away:
        away.setattr(site.parts.storage, "drop_outputs", raising(UNAVAILABLE))
        with pytest.raises(UnavailableError):
            sweep_expired(site.parts, after(0))
    assert answers(site, job_id, url) == [200, 200, 200]
    site.clock.now += 61
    sweep_expired(site.parts, after(0))
    assert not outputs(site)


def raising(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def test_one_sweeper_takes_each_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four that sweep at once drop each request once."""
    ids = [finished(site)[0] for _ in range(6)]
    site.clock.now += WEEK_S + 1
    dropped: list[str] = []
    drop = site.parts.storage.drop_outputs

    def noting(job_id: str) -> None:
        dropped.append(job_id)
        drop(job_id)

    monkeypatch.setattr(site.parts.storage, "drop_outputs", noting)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: sweep_expired(site.parts, after(0)), range(4)))
    assert sorted(dropped) == sorted(ids)


def keep(site: Site, job_id: str) -> str:
    with site.parts.storage.receive(10) as incoming:
        incoming.write(b"x")
        return site.parts.storage.keep_output(incoming, job_id, 1, "out.mp4")


def test_files_without_a_row_go(site: Site) -> None:
    """After an hour; those of a request that is there stay."""
    job_id, url = finished(site)
    keep(site, "stray")
    sweep_orphans(site.parts, after(0.9))
    assert sorted(outputs(site)) == sorted([job_id, "stray"])
    sweep_orphans(site.parts, after(1.1))
    assert outputs(site) == [job_id]
    assert answers(site, job_id, url) == [200, 200, 200]


def test_a_late_file_does_not_outlive_its_request(site: Site) -> None:
    """A worker that stores while its request is dropped leaves nothing for good."""
    job_id, _ = finished(site)
    job = known(site, job_id)
    assert drop_everything(job, site.parts)
    keep(site, job_id)
    sweep_orphans(site.parts, after(1.1))
    assert not outputs(site)


def test_the_files_of_another_table_are_left_alone(site: Site) -> None:
    """Where most have no row, the table is probably the wrong one: the log says so."""
    for index in range(11):
        keep(site, f"stray-{index}")
    job_id, _ = finished(site)
    with capture_logs() as logged:
        sweep_orphans(site.parts, after(1.1))
    assert len(outputs(site)) == 12
    assert [entry["event"] for entry in logged] == ["orphans_kept"]
    assert job_id in outputs(site)


def test_a_round_that_fails_is_not_the_last(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeps go on after an error, and end with the server."""
    third = Event()
    rounds: list[int] = []

    def failing(_: int) -> NoReturn:
        rounds.append(1)
        if len(rounds) == 3:
            third.set()
        raise OSError("database gone")

    monkeypatch.setattr(site.parts.store, "take_expired", failing)
    monkeypatch.setattr(retention, "_SWEEPS", ((sweep_expired, 0.001),))

    async def sweep() -> bool:
        async with retaining(site.parts):
            return await anyio.to_thread.run_sync(third.wait, 60)

    assert anyio.run(sweep)


def test_an_upload_outlives_the_jobs_that_name_it(site: Site) -> None:
    """Queued or running, whatever its time; with the last of them it goes."""
    uri, storage = upload(site), site.parts.storage
    first = site.submit(video_url=uri)
    second = site.submit(image_url=uri)
    for _ in (first, second):
        sweep_uploads(site.parts, after(100))
        assert files(storage, uri) == (True, True)
        site.finish(site.claim())
    sweep_uploads(site.parts, after(100))
    assert files(storage, uri) == (False, False)


def test_an_upload_in_use_is_not_deleted(site: Site) -> None:
    """The caller is told to cancel the job first."""
    uri = upload(site)
    path = f"/v1/uploads/{uri.rpartition('/')[2]}"
    job_id = site.submit(video_url=uri)
    refused = site.http.delete(path, headers=site.client)
    assert (refused.status_code, refused.json()["error_code"]) == (409, 409002)

    site.http.post(f"/v1/requests/{job_id}/cancel", headers=site.client)
    assert site.http.delete(path, headers=site.client).status_code == 204
