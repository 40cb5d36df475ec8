"""The client against a server that answers from a script."""

import json
from collections import deque
from pathlib import Path

import httpx2
import pytest

from rotoscope.client import ApiError, Client, NoResultError, UnreachableError
from rotoscope.schema.input import MODEL_ID
from rotoscope.schema.output import Result, Status

BASE = "http://server.test"
REQUEST = "0198c0de"
LINKS = {"status_url": f"{BASE}/s", "result_url": f"{BASE}/r"}
SUBMITTED = {"request_id": REQUEST, "cancel_url": f"{BASE}/c", **LINKS}
TIMES = {"created_at": "2026-01-01T00:00:00.000000+00:00", "finished_at": None}


def status_of(word: str, **more: object) -> httpx2.Response:
    return httpx2.Response(200, json={"request_id": REQUEST, "status": word, **LINKS, **more})


def result_of(word: str, **more: object) -> httpx2.Response:
    return httpx2.Response(200, json={"request_id": REQUEST, "status": word, **TIMES, **more})


class Script:
    """Answers in order; keeps the requests and the pauses between them."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = deque(answers)
        self.requests: list[httpx2.Request] = []
        self.pauses: list[float] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, key: str | None = "secret", *, patience_s: float = 300) -> Client:
        return Client(
            BASE,
            key,
            patience_s=patience_s,
            transport=httpx2.MockTransport(self.handle),
            pause=self.pauses.append,
        )


def test_submit_sends_the_body_and_the_key() -> None:
    """To the model's own URL, slashes and all."""
    script = Script(httpx2.Response(200, json=SUBMITTED))
    with script.client() as client:
        submitted = client.submit({"prompt": "p", "video_url": "https://h.test/v", "loras": []})

    (request,) = script.requests
    assert submitted.request_id == REQUEST
    assert request.url == f"{BASE}/v1/models/{MODEL_ID}"
    assert request.headers["authorization"] == "Bearer secret"
    assert json.loads(request.content)["loras"] == []


def test_a_refused_body_comes_with_the_servers_sentences() -> None:
    """The sentence as the text, the fields beside it."""
    detail = [{"loc": ["body", "seed"], "msg": "not a number", "type": "int_parsing"}]
    body = {"error_code": 422001, "error_message": "Seed is wrong.", "detail": detail}
    script = Script(httpx2.Response(422, json=body))
    with script.client() as client, pytest.raises(ApiError, match="Seed is wrong") as refused:
        client.submit({})

    assert (refused.value.status, refused.value.error_code) == (422, 422001)
    assert refused.value.detail[0].loc == ["body", "seed"]


def test_an_answer_that_is_not_the_servers_is_reported_as_such() -> None:
    """A proxy's page of HTML does not end in a parser's error."""
    script = Script(httpx2.Response(404, html="<h1>no</h1>"))
    with script.client() as client, pytest.raises(ApiError, match="answered 404"):
        client.status(REQUEST)


def test_a_submit_is_sent_once() -> None:
    """A lost answer does not say whether the job exists, so a second one could double it."""
    script = Script(httpx2.ReadTimeout("slow"))
    with script.client() as client, pytest.raises(UnreachableError, match=BASE):
        client.submit({})
    assert len(script.requests) == 1


def test_waiting_shows_every_status_and_gives_the_result() -> None:
    """Until the job has ended, however it ended."""
    script = Script(
        status_of("in_queue", queue_position=2),
        status_of("in_progress"),
        status_of("completed"),
        result_of("succeeded", output={"video": f"{BASE}/files/v.mp4"}),
    )
    seen: list[Status] = []
    with script.client() as client:
        result = client.wait(REQUEST, seen.append)

    assert [status.status for status in seen] == ["in_queue", "in_progress", "completed"]
    assert seen[0].queue_position == 2
    assert result.status == "succeeded"


def test_waiting_outlasts_a_restart_of_the_server() -> None:
    """No connection, a proxy's 502, a 503: each only makes the wait longer."""
    away = [httpx2.ConnectError("refused"), httpx2.Response(502), httpx2.Response(503)]
    script = Script(*away, status_of("completed"), *away, result_of("failed"))
    with script.client() as client:
        assert client.wait(REQUEST).status == "failed"
    assert len(script.pauses) == 6


def test_patience_ends() -> None:
    """A server that never comes back is an error in the end."""
    script = Script(*[httpx2.ConnectError("refused")] * 4)
    with script.client(patience_s=3) as client, pytest.raises(UnreachableError):
        client.status(REQUEST)
    assert not script.answers


def test_a_download_appears_whole(tmp_path: Path) -> None:
    """Under its name only when every byte is there."""
    result = Result.model_validate(
        json.loads(result_of("succeeded", output={"video": f"{BASE}/files/v.mp4"}).content)
    )
    target = tmp_path / "new" / "out.mp4"
    script = Script(httpx2.Response(404), httpx2.Response(200, content=b"video"))
    with script.client() as client:
        with pytest.raises(ApiError):
            client.download(result, target)
        assert not list(target.parent.iterdir())
        assert client.download(result, target).read_bytes() == b"video"
    assert [path.name for path in target.parent.iterdir()] == ["out.mp4"]


def test_a_download_follows_to_the_store(tmp_path: Path) -> None:
    """A presigned URL elsewhere is followed, and the key stays with the server."""
    leads = httpx2.Response(307, headers={"Location": "https://store.test/out.mp4?signed=1"})
    script = Script(leads, httpx2.Response(200, content=b"video"))
    result = Result.model_validate_json(
        result_of("succeeded", output={"video": f"{BASE}/files/out.mp4"}).content
    )
    with script.client() as client:
        saved = client.download(result, tmp_path / "out.mp4")
    assert saved.read_bytes() == b"video"
    first, second = script.requests
    assert first.headers["Authorization"] == "Bearer secret"
    assert (str(second.url), second.headers.get("Authorization")) == (
        "https://store.test/out.mp4?signed=1",
        None,
    )


def test_a_control_video_is_downloaded_if_there_is_one(tmp_path: Path) -> None:
    """From its own URL."""
    media = {"content_type": "video/mp4", "size": 1, "width": 8, "height": 8, "fps": "25"}
    media |= {"frames": 9, "duration_s": 0.36, "audio": False}
    control = {"video": f"{BASE}/files/c.mp4", "media": media}
    results = [
        Result.model_validate(json.loads(result_of("succeeded", **fields).content))
        for fields in ({"control": control}, {})
    ]
    script = Script(httpx2.Response(200, content=b"lines"))
    with script.client() as client:
        saved = [client.download_control(result, tmp_path / "c.mp4") for result in results]
    assert saved == [tmp_path / "c.mp4", None]
    assert (tmp_path / "c.mp4").read_bytes() == b"lines"
    assert [str(request.url) for request in script.requests] == [f"{BASE}/files/c.mp4"]


def test_a_failed_job_has_nothing_to_download(tmp_path: Path) -> None:
    """The job's own sentence is the error."""
    failure = {"code": "video_too_short", "message": "No frame.", "retryable": False}
    result = Result.model_validate(json.loads(result_of("failed", error=failure).content))
    with Script().client() as client, pytest.raises(NoResultError, match="No frame") as error:
        client.download(result, tmp_path / "out.mp4")
    assert error.value.failure
    assert error.value.failure.code == "video_too_short"


def test_an_upload_carries_the_file(tmp_path: Path) -> None:
    """Its bytes and its name."""
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"clip")
    uploaded = {"url": "rotoscope://uploads/1", "sha256": "0", "size": 4}
    uploaded["expires_at"] = TIMES["created_at"] or ""
    script = Script(httpx2.Response(200, json=uploaded))
    with script.client(key=None) as client:
        assert client.upload(file).url == "rotoscope://uploads/1"
    assert b"clip" in script.requests[0].content
    assert "authorization" not in script.requests[0].headers


def test_an_answer_of_a_newer_server_is_understood() -> None:
    """Fields that this client does not know are passed over."""
    with Script(status_of("in_progress", mood="good")).client() as client:
        assert client.status(REQUEST).status == "in_progress"


def test_cancel_and_models_read_their_answers() -> None:
    """The outcome of a cancel, the entries of the catalogue."""
    cancelled = {"request_id": REQUEST, "status": "cancelled", "outcome": "cancelled"}
    catalogue = {"models": [{"model_id": MODEL_ID}], "total": 1}
    script = Script(httpx2.Response(202, json=cancelled), httpx2.Response(200, json=catalogue))
    with script.client() as client:
        assert client.cancel(REQUEST).outcome == "cancelled"
        assert client.models(search="ltx") == [{"model_id": MODEL_ID}]
    assert script.requests[1].url.params["search"] == "ltx"
