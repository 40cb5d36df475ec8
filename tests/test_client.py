"""Both clients against a server that answers from a script."""

import asyncio
import inspect
import io
import json
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_type_hints

import httpx2
import pytest

import rotoscope
from rotoscope.client import (
    ApiError,
    AsyncClient,
    Client,
    Fields,
    Finished,
    InputError,
    NoResultError,
    UnreachableError,
    WaitTimeoutError,
)
from rotoscope.client.display import shown
from rotoscope.schema.input import MODEL_ID, VideoToVideoInput
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


class InLoop:
    """An AsyncClient whose methods are run to their end, one by one."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._client.close())
        self._loop.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def done(*args: Any, **options: Any) -> Any:
            made = getattr(self._client, name)(*args, **options)
            return [one async for one in made] if inspect.isasyncgen(made) else await made

        return lambda *args, **options: self._loop.run(done(*args, **options))


@pytest.fixture(params=["Client", "AsyncClient"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test is one of each."""
    monkeypatch.setattr(Script, "kind", request.param)
    return str(request.param)


class Script:
    """Answers in order; keeps the requests and the pauses between them."""

    kind: ClassVar[Literal["Client", "AsyncClient"]] = "Client"

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

    def client(self, key: str | None = "secret", *, patience_s: float = 300) -> Any:
        transport = httpx2.MockTransport(self.handle)
        if self.kind == "Client":
            return Client(
                BASE, key, patience_s=patience_s, transport=transport, pause=self.pauses.append
            )

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        return InLoop(
            AsyncClient(BASE, key, patience_s=patience_s, transport=transport, pause=pause)
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


def test_a_lost_submit_is_sent_again_where_that_makes_no_second_job() -> None:
    """The server lists a key's requests, so it is one that knows Idempotency-Key."""
    page = httpx2.Response(200, json={"requests": [], "next_cursor": None})
    accepted = httpx2.Response(200, json=SUBMITTED)
    script = Script(httpx2.ReadTimeout("slow"), page, httpx2.Response(502), page, accepted)
    with script.client() as client:
        assert client.submit({}).request_id == REQUEST
        script.answers.append(httpx2.Response(200, json=SUBMITTED))
        client.submit({})
    *sent, other = [one for one in script.requests if one.method == "POST"]
    assert len({one.headers["idempotency-key"] for one in sent}) == 1
    assert other.headers["idempotency-key"] != sent[0].headers["idempotency-key"]


@pytest.mark.parametrize(("status", "body"), [(404, {}), (200, {"data": []})])
def test_a_lost_submit_is_sent_once_where_it_could_make_two_jobs(
    status: int, body: dict[str, Any]
) -> None:
    """Another server of the same API may not know Idempotency-Key."""
    script = Script(httpx2.ReadTimeout("slow"), httpx2.Response(status, json=body))
    with script.client() as client, pytest.raises(UnreachableError, match="made twice") as lost:
        client.submit({})
    assert [one.method for one in script.requests] == ["POST", "GET"]
    assert lost.value.sent


def test_a_server_that_restarts_under_a_submit_is_waited_for() -> None:
    """Refused after one was lost, it may have that one still."""
    page = httpx2.Response(200, json={"requests": [], "next_cursor": None})
    answers = [httpx2.ReadTimeout("slow"), page, httpx2.ConnectError("refused"), page]
    script = Script(*answers, httpx2.Response(200, json=SUBMITTED))
    with script.client() as client:
        assert client.submit({}).request_id == REQUEST


def test_a_submit_that_stays_lost_can_be_sent_again_by_its_key() -> None:
    script = Script(httpx2.ReadTimeout("slow"), *[httpx2.ConnectError("refused")] * 3)
    with script.client(patience_s=2) as client, pytest.raises(UnreachableError) as lost:
        client.submit({})
    assert lost.value.sent
    assert lost.value.idempotency_key == script.requests[0].headers["idempotency-key"]


def test_a_submit_that_was_never_sent_says_so() -> None:
    script = Script(httpx2.ConnectError("refused"))
    with script.client() as client, pytest.raises(UnreachableError, match=BASE) as error:
        client.submit({})
    assert not error.value.sent


def test_a_submit_carries_its_options() -> None:
    script = Script(httpx2.Response(200, json=SUBMITTED))
    with script.client() as client:
        client.submit(
            {}, idempotency_key="k", webhook="https://h.test", priority="low", deadline_s=9
        )
    headers = script.requests[0].headers
    names = ("idempotency-key", "x-webhook-url", "x-priority", "x-deadline-seconds")
    assert [headers[name] for name in names] == ["k", "https://h.test", "low", "9"]


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


MEDIA = {"content_type": "video/mp4", "size": 1, "width": 8, "height": 8, "fps": "25"}
MEDIA |= {"frames": 9, "duration_s": 0.36, "audio": False}
UPLOADED = {"sha256": "0", "size": 4, "expires_at": "2026-01-01T00:00:00.000000+00:00"}


def uploaded(name: str) -> httpx2.Response:
    return httpx2.Response(200, json={"url": f"rotoscope://uploads/{name * 32}", **UPLOADED})


def made() -> httpx2.Response:
    return result_of("succeeded", output={"video": f"{BASE}/files/v.mp4"}, media=MEDIA)


def test_run_sends_files_and_gives_the_result(tmp_path: Path, kind: str) -> None:
    """A path, an open file and bytes become uploads; URLs, names and scales stay as they are."""
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    (tmp_path / "style.safetensors").write_bytes(b"lora")
    accepted = httpx2.Response(200, json=SUBMITTED)
    uploads = [uploaded(name) for name in "abc"]
    script = Script(*uploads, accepted, status_of("completed"), made())
    seen: list[Status] = []
    with script.client() as client:
        result = client.run(
            tmp_path / "clip.mp4",
            "a drawing",
            image=io.BytesIO(b"picture"),
            loras=[(tmp_path / "style.safetensors", 0.5), "owner/name", {"path": "x", "scale": 2}],
            progress=seen.append,
            seed=7,
        )
        if kind == "Client":
            script.answers.append(httpx2.Response(200, content=b"video"))
            assert result.save(tmp_path / "out.mp4").read_bytes() == b"video"
        else:
            with pytest.raises(TypeError, match="download"):
                result.save(tmp_path / "out.mp4")

    for content, one in zip((b"clip", b"picture", b"lora"), script.requests[:3], strict=True):
        assert content in one.content
    body = json.loads(script.requests[3].content)
    assert body.pop("loras") == [
        {"path": f"rotoscope://uploads/{'c' * 32}", "scale": 0.5},
        {"path": "owner/name"},
        {"path": "x", "scale": 2},
    ]
    assert body == {
        "prompt": "a drawing",
        "video_url": f"rotoscope://uploads/{'a' * 32}",
        "image_url": f"rotoscope://uploads/{'b' * 32}",
        "seed": 7,
    }
    assert result.url == f"{BASE}/files/v.mp4"
    assert [one.status for one in seen] == ["completed"]


def test_a_server_without_uploads_gets_files_in_the_body() -> None:
    accepted = httpx2.Response(200, json=SUBMITTED)
    script = Script(httpx2.Response(404), accepted, status_of("completed"), made())
    with script.client() as client:
        client.run(b"clip", "a drawing")
    body = json.loads(script.requests[1].content)
    assert body["video_url"] == "data:application/octet-stream;base64,Y2xpcA=="


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"guidence_scale": 2}, "did you mean guidance_scale"),
        ({"seed": "one"}, "seed: "),
        ({"image": "none.png"}, "image_url: there is no file none.png"),
        ({"loras": ["a"] * 11}, "loras: "),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(wrong: dict[str, Any], told: str) -> None:
    script = Script()
    with script.client() as client, pytest.raises(InputError, match=told) as error:
        client.run("https://h.test/v.mp4", "a drawing", **wrong)
    assert error.value.detail
    assert not script.requests


def test_a_timeout_keeps_the_request() -> None:
    accepted = httpx2.Response(200, json=SUBMITTED)
    script = Script(accepted, status_of("in_progress"), status_of("completed"), made())
    with script.client() as client:
        with pytest.raises(WaitTimeoutError, match=REQUEST) as late:
            client.run("https://h.test/v.mp4", "a drawing", timeout_s=0.1)
        assert client.wait(late.value.request_id).status == "succeeded"


def test_a_server_that_went_away_keeps_the_request() -> None:
    script = Script(status_of("in_progress"), *[httpx2.ConnectError("refused")] * 3)
    with script.client(patience_s=2) as client, pytest.raises(UnreachableError) as error:
        client.wait(REQUEST)
    assert error.value.request_id == REQUEST


def test_a_refusal_while_waiting_keeps_the_request() -> None:
    body = {"error_code": 400004, "error_message": "The key was revoked."}
    refusals = [httpx2.Response(401, json=body) for _ in range(2)]
    with Script(*refusals).client() as client:
        with pytest.raises(ApiError, match="revoked") as error:
            client.wait(REQUEST)
        assert error.value.request_id == REQUEST
        with pytest.raises(ApiError) as error:
            list(client.events(REQUEST))
        assert error.value.request_id == REQUEST


@pytest.mark.parametrize("away", [httpx2.ConnectError("refused"), 503])
def test_a_timeout_holds_while_the_server_is_away(away: Exception | int) -> None:
    script = Script(httpx2.Response(away) if isinstance(away, int) else away)
    with script.client() as client, pytest.raises(WaitTimeoutError):
        client.wait(REQUEST, timeout_s=0.1)
    assert len(script.requests) == 1


def test_a_lora_that_cannot_be_sent_is_named(tmp_path: Path) -> None:
    """A body has room for pictures, but no field for a LoRA's bytes."""
    (tmp_path / "style.safetensors").write_bytes(b"lora")
    script = Script(httpx2.Response(404))
    with script.client() as client, pytest.raises(InputError, match=r"loras\.0\.path: this server"):
        client.run("https://h.test/v.mp4", "p", loras=[tmp_path / "style.safetensors"])


def test_a_run_that_failed_says_why() -> None:
    failure = {"code": "video_too_short", "message": "No frame.", "retryable": False}
    accepted = httpx2.Response(200, json=SUBMITTED)
    script = Script(accepted, status_of("completed"), result_of("failed", error=failure))
    with script.client() as client, pytest.raises(NoResultError, match="No frame") as error:
        client.run("https://h.test/v.mp4", "a drawing")
    assert error.value.request_id == REQUEST


def stream_of(*statuses: httpx2.Response) -> httpx2.Response:
    lines = [f"id: {n}\ndata: {one.text}\n\n" for n, one in enumerate(statuses, start=1)]
    text = "retry: 1000\n\n: waiting\n\n" + "".join(lines)
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)


def test_events_are_heard_to_the_end() -> None:
    """A stream that breaks off is taken up where it was; what is told twice is given once."""
    queued, running = status_of("in_queue", queue_position=1), status_of("in_progress")
    script = Script(
        stream_of(queued, running),
        httpx2.ConnectError("refused"),
        httpx2.Response(503),
        stream_of(running, status_of("completed")),
    )
    with script.client() as client:
        told = [one.status for one in client.events(REQUEST)]
    assert told == ["in_queue", "in_progress", "completed"]
    assert script.requests[0].url == f"{BASE}/v1/requests/{REQUEST}/events"
    assert script.requests[1].headers["last-event-id"] == "2"


def test_without_events_the_status_is_asked() -> None:
    """Each change once, as with events."""
    running = [status_of("in_progress")] * 2
    script = Script(httpx2.Response(404), *running, status_of("completed"))
    with script.client() as client:
        assert [one.status for one in client.events(REQUEST)] == ["in_progress", "completed"]


def test_events_of_an_unknown_request_are_an_error() -> None:
    body = {"error_code": 403001, "error_message": "Not yours."}
    script = Script(httpx2.Response(403, json=body))
    with script.client() as client, pytest.raises(ApiError, match="Not yours"):
        list(client.events(REQUEST))


def test_the_key_is_shown_to_its_server_alone(tmp_path: Path) -> None:
    """A result may lie elsewhere."""
    elsewhere = result_of("succeeded", output={"video": "https://cdn.test/v.mp4"})
    script = Script(elsewhere, httpx2.Response(200, content=b"video"))
    with script.client() as client:
        client.download(client.result(REQUEST), tmp_path / "v.mp4")
    assert [one.headers.get("authorization") for one in script.requests] == ["Bearer secret", None]


def test_requests_are_listed_and_deleted() -> None:
    page = httpx2.Response(200, json={"requests": [], "next_cursor": "next"})
    script = Script(page, httpx2.Response(204))
    with script.client() as client:
        assert client.list(limit=5, status="failed").next_cursor == "next"
        assert client.delete(REQUEST) is None
    assert dict(script.requests[0].url.params) == {"limit": "5", "status": "failed"}
    assert script.requests[1].method == "DELETE"


def test_a_notebook_shows_the_video() -> None:
    shown = Finished.model_validate_json(made().content)._repr_html_()
    assert f'<video src="{BASE}/files/v.mp4" controls' in shown
    failure = {"code": "x", "message": "<b>No</b>", "retryable": False}
    failed = Finished.model_validate_json(result_of("failed", error=failure).content)
    assert "&lt;b&gt;No" in failed._repr_html_()


def test_typed_fields_are_the_published_ones() -> None:
    """Name by name; those of `run`'s own arguments are apart."""
    own = {"prompt", "video_url", "image_url", "loras"}
    assert get_type_hints(Fields).keys() == VideoToVideoInput.model_fields.keys() - own


def test_the_clients_are_at_the_top() -> None:
    assert (rotoscope.Client, rotoscope.AsyncClient) == (Client, AsyncClient)
    with pytest.raises(AttributeError, match="nothing"):
        _ = rotoscope.nothing
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods == {name for name in vars(AsyncClient) if not name.startswith("_")}


def test_progress_is_shown_where_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar on a terminal, nothing in a script's log, and a function of one's own anywhere."""
    seen: list[Status] = []
    with shown(seen.append) as listener:
        assert listener == seen.append
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with shown(progress=True) as listener:
        assert listener is None
    monkeypatch.setenv("FORCE_COLOR", "1")
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with shown(progress=True) as listener:
        assert listener
        listener(Status.model_validate_json(status_of("in_queue", queue_position=3).content))
    assert "position 3" in terminal.getvalue()
    with shown(progress=False) as listener:
        assert listener is None
