"""The worker's side of its protocol with the server."""

from pathlib import Path
from threading import Event

import httpx2
import pytest

from rotoscope.errors import FileDownloadError, FileTooLargeError, LeaseLostError, OperatorError
from rotoscope.schema.output import Failure
from rotoscope.worker.api import TRIES_WHEN_STOPPING, RefusedError, ServerAwayError
from rotoscope.worker.progress import Report
from tests.worker.stand_ins import Server, make_job

AWAY = httpx2.ConnectError("refused")
FAILURE = Failure(code="video_too_short", message="No frame.", field="video_url", retryable=False)


def test_a_claim_is_a_job_or_nothing(server: Server) -> None:
    """An empty queue is no error."""
    server.jobs.append(make_job())
    with server.connect() as api:
        assert api.claim() == make_job()
        assert api.claim() is None
    assert server.sent("claim")[0]["worker_id"] == "w1"


def test_an_answer_of_a_newer_server_is_understood() -> None:
    """Fields that this worker does not know are passed over."""
    job = make_job().model_dump(mode="json") | {"priority": 3}
    server = Server()
    server.will_answer("claim", httpx2.Response(200, json=job))
    with server.connect() as api:
        assert api.claim() == make_job()


def test_a_finished_job_outlasts_a_restart_of_the_server(server: Server) -> None:
    """The end is told again and again until it is heard."""
    server.will_answer("fail", AWAY, httpx2.Response(503), httpx2.ReadTimeout("slow"), AWAY)
    with server.connect() as api:
        api.fail(make_job(), FAILURE, Report())

    assert len(server.sent("fail")) == 5
    assert server.sent("fail")[-1]["error"] == FAILURE.model_dump()


def test_a_file_is_sent_whole_again_after_a_broken_upload(server: Server, tmp_path: Path) -> None:
    """From its first byte, not from where the connection broke."""
    file = tmp_path / "video.mp4"
    file.write_bytes(b"clip" * 100_000)
    server.will_answer("files", httpx2.WriteError("reset"), httpx2.Response(500))
    with server.connect() as api:
        stored = api.store(make_job(), file, "video.mp4")

    assert stored.size == 400_000
    assert server.files["outputs/1"] == file.read_bytes()


@pytest.mark.parametrize("verb", ["heartbeat", "fail", "release"])
def test_a_lost_lease_is_told_by_a_conflict(server: Server, verb: str) -> None:
    """Whatever the call, 409 means to stop and discard; it is not repeated."""
    server.will_answer(verb, httpx2.Response(409))
    with server.connect() as api, pytest.raises(LeaseLostError):
        {
            "heartbeat": lambda: api.heartbeat(make_job(), Report()),
            "fail": lambda: api.fail(make_job(), FAILURE, Report()),
            "release": lambda: api.release(make_job()),
        }[verb]()
    assert len(server.sent(verb)) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_the_operators_business(server: Server, status: int) -> None:
    """The sentence says how to make a key."""
    server.will_answer("claim", httpx2.Response(status))
    with server.connect() as api, pytest.raises(OperatorError, match="keys create NAME --worker"):
        api.claim()


def test_another_version_of_the_protocol_is_named(server: Server) -> None:
    """A 404 or 422 can only mean that server and worker do not belong together."""
    server.will_answer("claim", httpx2.Response(404))
    with server.connect() as api, pytest.raises(OperatorError, match="same Rotoscope version"):
        api.claim()


def test_a_refused_call_about_a_job_is_not_repeated(server: Server) -> None:
    """It would be refused again; the server's reason is in the error."""
    server.will_answer("fail", httpx2.Response(422, text="no such code"))
    with server.connect() as api, pytest.raises(RefusedError, match="422: no such code"):
        api.fail(make_job(), FAILURE, Report())


def test_a_heartbeat_is_tried_once(server: Server) -> None:
    """The next one is soon."""
    server.will_answer("heartbeat", AWAY)
    with server.connect() as api, pytest.raises(ServerAwayError):
        api.heartbeat(make_job(), Report())


def test_an_ending_worker_gives_up_on_a_server_that_is_away(server: Server) -> None:
    """After a few tries: the lease then runs out by itself."""
    stopping = Event()
    stopping.set()
    server.will_answer("release", *[AWAY] * 50)
    with server.connect(stopping) as api, pytest.raises(ServerAwayError):
        api.release(make_job())
    assert len(server.sent("release")) == TRIES_WHEN_STOPPING


def test_an_upload_is_copied_within_its_limit(server: Server, tmp_path: Path) -> None:
    """Whole, or an error that names the field."""
    server.uploads["u1"] = b"x" * 1000
    with server.connect() as api:
        path = api.fetch_upload("u1", into=tmp_path, name="v", max_bytes=1000, field="video_url")
        assert path.read_bytes() == b"x" * 1000
        with pytest.raises(FileTooLargeError, match="999") as too_large:
            api.fetch_upload("u1", into=tmp_path, name="w", max_bytes=999, field="video_url")
        with pytest.raises(FileDownloadError, match="upload the file again") as gone:
            api.fetch_upload("u2", into=tmp_path, name="x", max_bytes=9, field="image_url")
    assert too_large.value.field == "video_url"
    assert gone.value.field == "image_url"
