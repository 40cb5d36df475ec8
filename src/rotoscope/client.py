"""The Model API from the caller's side: submit, watch, fetch the result.

    with Client("http://127.0.0.1:8000", key) as client:
        submitted = client.submit({"prompt": "…", "video_url": "https://…", "loras": []})
        result = client.wait(submitted.request_id)
        client.download(result, to=Path("out.mp4"))

It needs no torch and no media library. Questions are asked again while the server is away, so that
a restart of the server is only a longer wait; a submit is sent once, since a lost answer does not
say whether the job exists.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from rotoscope import telemetry
from rotoscope.errors import RotoscopeError
from rotoscope.schema.input import MODEL_ID, VideoToVideoInput
from rotoscope.schema.output import (
    Cancelled,
    ErrorBody,
    Failure,
    FieldError,
    Planned,
    Result,
    Status,
    Submitted,
    Uploaded,
)

log = telemetry.logger()

POLL_S = 0.5
PATIENCE_S = 300.0
"""How long one question is repeated while the server does not answer."""
PAUSE_S = 1.0
LATER = frozenset({408, 429, 500, 502, 503, 504})

Answer = TypeVar("Answer", bound=BaseModel)


class ApiError(RotoscopeError):
    """The server refused a request; the text is its own sentence."""

    def __init__(self, status: int, error: ErrorBody) -> None:
        super().__init__(error.error_message)
        self.status = status
        self.error_code = error.error_code
        self.detail: list[FieldError] = error.detail or []


class UnreachableError(RotoscopeError):
    """The server does not answer."""


class NoResultError(RotoscopeError):
    """The job left no video: it failed, was cancelled, or has not ended."""

    def __init__(self, result: Result) -> None:
        super().__init__(
            result.error.message
            if result.error
            else f"Request {result.request_id} has no video: it is {result.status}."
        )
        self.failure: Failure | None = result.error


class Client:
    """One server, one key; not shared between threads."""

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        transport: httpx2.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = base_url
        self._patience_s = patience_s
        self._pause = pause
        self._http = httpx2.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(60, connect=10),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self, body: Mapping[str, Any] | VideoToVideoInput, model_id: str = MODEL_ID
    ) -> Submitted:
        """Queue a job; sent once."""
        with self._reaching():
            answer = self._http.post(f"/v1/models/{model_id}", json=_content(body))
        return _read(Submitted, answer)

    def plan(
        self, body: Mapping[str, Any] | VideoToVideoInput, model_id: str = MODEL_ID
    ) -> Planned:
        """What the request would make and cost; nothing is queued."""
        with self._reaching():
            answer = self._http.post(
                f"/v1/models/{model_id}/plan",
                json=_content(body),
                # The server fetches the source first.
                timeout=httpx2.Timeout(600, connect=10),
            )
        return _read(Planned, answer)

    def status(self, request_id: str) -> Status:
        return _read(Status, self._ask("GET", f"/v1/requests/{request_id}/status"))

    def result(self, request_id: str) -> Result:
        return _read(Result, self._ask("GET", f"/v1/requests/{request_id}/result"))

    def cancel(self, request_id: str, *, running: bool = False) -> Cancelled:
        """Withdraw a queued job, and stop a running one if `running`; may be repeated."""
        # Sent only where it is asked for: other servers of the same API may not know it.
        query = {"running": "true"} if running else None
        return _read(Cancelled, self._ask("POST", f"/v1/requests/{request_id}/cancel", query))

    def models(self, **query: str | int | bool) -> list[dict[str, Any]]:
        """The catalogue's entries; `search`, `category`, `limit` … narrow it."""
        models: list[dict[str, Any]] = _checked(
            self._ask("GET", "/v1/models", params=query)
        ).json()["models"]
        return models

    def upload(self, file: Path) -> Uploaded:
        """Give the server a local file; the answer's `url` is a video_url, image_url or LoRA."""
        with file.open("rb") as content, self._reaching():
            answer = self._http.post(
                "/v1/uploads",
                files={"file": (file.name, content, "application/octet-stream")},
                timeout=httpx2.Timeout(600, connect=10),
            )
        return _read(Uploaded, answer)

    def download(self, result: Result, to: Path) -> Path:
        """Save the video of a job that succeeded; `to` appears when it is whole.

        Raises:
            NoResultError: The job has no video.
        """
        if result.output is None or result.output.video is None:
            raise NoResultError(result)
        return self._fetch(result.output.video, to)

    def download_control(self, result: Result, to: Path) -> Path | None:
        """Save the control video of a job, as `download` does; None without a preprocessor."""
        return self._fetch(result.control.video, to) if result.control else None

    def _fetch(self, url: str, to: Path) -> Path:
        partial = to.with_name(f".{to.name}.part")
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._save(url, partial)
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)
        return to

    def wait(
        self,
        request_id: str,
        on_status: Callable[[Status], None] = lambda _: None,
        *,
        poll_s: float = POLL_S,
    ) -> Result:
        """Ask until the job has ended, whatever the end; `on_status` sees each answer."""
        while True:
            status = self.status(request_id)
            on_status(status)
            if status.status in ("completed", "cancelled"):
                return self.result(request_id)
            self._pause(poll_s)

    def _ask(
        self, method: str, path: str, params: Mapping[str, str | int | bool] | None = None
    ) -> httpx2.Response:
        """Send a request that may be repeated, until there is an answer or patience ends."""
        for _ in range(int(self._patience_s / PAUSE_S)):
            try:
                if (answer := self._send(method, path, params)).status_code not in LATER:
                    return answer
            except UnreachableError as error:
                log.debug("server_away", reason=str(error))
            self._pause(PAUSE_S)
        return self._send(method, path, params)

    def _send(
        self, method: str, path: str, params: Mapping[str, str | int | bool] | None
    ) -> httpx2.Response:
        with self._reaching():
            return self._http.request(method, path, params=params)

    def _save(self, url: str, file: Path) -> None:
        # The server may lead on to where the file lies; the key is not sent there.
        download = self._http.stream("GET", url, follow_redirects=True)
        with self._reaching(), download as answer, file.open("wb") as out:
            if answer.is_error:
                answer.read()
            for chunk in _checked(answer).iter_bytes():
                out.write(chunk)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise UnreachableError(
                f"{self._url} does not answer ({error or type(error).__name__})."
            ) from error


def _content(body: Mapping[str, Any] | VideoToVideoInput) -> Mapping[str, Any]:
    return body.model_dump(mode="json", exclude_unset=True) if isinstance(body, BaseModel) else body


def _read(kind: type[Answer], answer: httpx2.Response) -> Answer:
    # A newer server may say more than this client knows.
    return kind.model_validate_json(_checked(answer).content, extra="ignore")


def _checked(answer: httpx2.Response) -> httpx2.Response:
    if answer.is_error:
        raise ApiError(answer.status_code, _error_body(answer))
    return answer


def _error_body(answer: httpx2.Response) -> ErrorBody:
    """What the server said, or what can be said when a proxy answered in its place."""
    try:
        return ErrorBody.model_validate_json(answer.content, extra="ignore")
    except ValidationError:
        return ErrorBody(
            error_code=answer.status_code * 1000,
            error_message=f"{answer.request.url} answered {answer.status_code} "
            f"{answer.reason_phrase}.",
        )
