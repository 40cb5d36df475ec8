"""The client that blocks while it waits."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, Unpack

import httpx2

from rotoscope.client import work
from rotoscope.client.display import shown
from rotoscope.client.errors import NoResultError, UnreachableError
from rotoscope.client.inputs import Fields, File, LoraLike, ask_for
from rotoscope.client.result import Finished
from rotoscope.schema.input import MODEL_ID
from rotoscope.schema.output import (
    AnyWord,
    Cancelled,
    Listed,
    Page,
    Planned,
    Result,
    Status,
    Submitted,
    Uploaded,
)


class Client:
    """One server, one key; not shared between threads.

    Args:
        base_url: The server's address, without /v1.
        key: An API key; a server on this machine may need none.
        patience_s: How long a question is repeated while the server does not answer.
        transport: Another way to the server, for tests.
        pause: What waits, for tests.

    Methods raise ApiError where the server refuses and UnreachableError where it does not answer.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        patience_s: float = work.PATIENCE_S,
        transport: httpx2.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._patience_s = patience_s
        self._pause = pause
        self._http = httpx2.Client(
            base_url=work.address(base_url), headers=work.headers_for(key), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def run(  # noqa: PLR0913 - each is something else
        self,
        video: File,
        prompt: str,
        *,
        image: File | None = None,
        loras: Sequence[LoraLike] = (),
        progress: bool | work.OnStatus = True,
        timeout_s: float | None = None,
        model_id: str = MODEL_ID,
        **fields: Unpack[Fields],
    ) -> Finished:
        """Send a request with its files, wait for it, and give its result.

        Args:
            video: The source: a file (path, bytes or open file), or a URL.
            prompt: What the result should look like.
            image: The first frame, likewise.
            loras: LoRAs: paths, URLs or names, with a scale as (path, scale).
            progress: True shows a bar on a terminal or in a notebook; a function is told each
                status.
            timeout_s: How long to wait; the job goes on.
            model_id: The model to ask.
            **fields: The input's other fields, by their published names.

        Raises:
            InputError: A field is wrong; nothing was sent.
            NoResultError: The job failed or was cancelled.
            WaitTimeoutError: It has not ended in time; `wait(error.request_id)` goes on.
        """
        asked = ask_for(video, prompt, image, loras, fields)
        request_id = self._do(work.start(asked, model_id, self._patience_s))
        with shown(progress) as on_status:
            result = self.wait(request_id, on_status, timeout_s=timeout_s)
        if result.url is None:
            raise NoResultError(result)
        return result

    def submit(  # noqa: PLR0913 - a submit's own options
        self,
        body: work.Body,
        model_id: str = MODEL_ID,
        *,
        idempotency_key: str | None = None,
        webhook: str | None = None,
        priority: str | None = None,
        deadline_s: int | None = None,
    ) -> Submitted:
        """Queue a job.

        Where the answer is lost it is sent again, if the server is one that makes a job once for an
        idempotency key, of which each submit has its own.

        Args:
            body: The input, with URLs in place of files (see `upload`).
            model_id: The model to ask.
            idempotency_key: Sent twice, the same key makes one job.
            webhook: Where to tell the end of the job.
            priority: normal or low.
            deadline_s: Seconds in which a worker must have begun.
        """
        return self._do(
            work.submit(
                body, model_id, self._patience_s, idempotency_key, webhook, priority, deadline_s
            )
        )

    def plan(self, body: work.Body, model_id: str = MODEL_ID) -> Planned:
        """What the request would make and cost; nothing is queued."""
        return self._do(work.plan(body, model_id))

    def status(self, request_id: str) -> Status:
        return self._do(work.status(request_id, self._patience_s))

    def result(self, request_id: str) -> Finished:
        return self._bound(self._do(work.result(request_id, self._patience_s)))

    def wait(
        self,
        request_id: str,
        on_status: work.OnStatus | None = None,
        *,
        poll_s: float = work.POLL_S,
        timeout_s: float | None = None,
    ) -> Finished:
        """Ask until the job has ended, whatever the end; `on_status` sees each answer.

        Raises:
            WaitTimeoutError: It has not ended in time; it goes on.
        """
        waiting = work.wait(request_id, on_status, poll_s, timeout_s, self._patience_s)
        return self._bound(self._do(waiting))

    def events(self, request_id: str, *, poll_s: float = work.POLL_S) -> Iterator[Status]:
        """Each change of a request until it has ended, as it happens.

        Where the server sends no events it is asked every `poll_s` seconds.
        """
        steps = work.events(request_id, poll_s, self._patience_s)
        with self._wire() as wire:
            while isinstance(told := wire.advance(steps), work.Give):
                yield told.value

    def cancel(self, request_id: str, *, running: bool = False) -> Cancelled:
        """Withdraw a queued job, and stop a running one if `running`; may be repeated."""
        return self._do(work.cancel(request_id, self._patience_s, running=running))

    def delete(self, request_id: str) -> None:
        """Remove an ended request with its files."""
        self._do(work.delete(request_id, self._patience_s))

    def list(
        self, *, limit: int = 20, status: AnyWord | None = None, cursor: str | None = None
    ) -> Page:
        """The key's own requests, newest first: a page of up to 1,000."""
        return self._do(work.requests(limit, status, cursor, self._patience_s))

    def models(self, **query: str | int | bool) -> Sequence[dict[str, Any]]:
        """The catalogue's entries; `search`, `category`, `limit` … narrow it."""
        return self._do(work.models(query, self._patience_s))

    def upload(self, file: File, name: str | None = None) -> Uploaded:
        """Give the server a local file; the answer's `url` is a video_url, image_url or LoRA."""
        return self._do(work.upload(file, name))

    def preview(self, running: Status | Listed) -> bytes | None:
        """A small JPEG of how a running job's clip looks so far; None where there is none yet."""
        return self._do(work.preview(running))

    def download(self, result: Result, to: str | Path) -> Path:
        """Save the video of a job that succeeded; `to` appears when it is whole.

        Raises:
            NoResultError: The job has no video.
        """
        return self._do(work.download(result, Path(to)))

    def download_control(self, result: Result, to: str | Path) -> Path | None:
        """Save the control video of a job, as `download` does; None without a preprocessor."""
        return self._do(work.download_control(result, Path(to)))

    def _bound(self, result: Finished) -> Finished:
        return result.bound(self.download)

    def _do(self, steps: work.Work[work.Value]) -> work.Value:
        with self._wire() as wire:
            done: work.Value = wire.advance(steps).value
            return done

    @contextmanager
    def _wire(self) -> Iterator["_Wire"]:
        wire = _Wire(self._http, self._pause)
        try:
            yield wire
        finally:
            wire.close()


class _Wire:
    """Carries out the steps of one piece of work; at most one answer is open at a time."""

    def __init__(self, http: httpx2.Client, pause: Callable[[float], None]) -> None:
        self._http = http
        self._pause = pause
        self._open: httpx2.Response | None = None

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    def advance(self, steps: work.Work[Any]) -> work.Give | work.Done:
        """Up to the next value that is given, or the end."""
        step = work.following(steps)
        while not isinstance(step, work.Give | work.Done):
            try:
                with work.reaching(str(self._http.base_url)):
                    answer = self._perform(step)
            except UnreachableError as error:
                step = work.following(steps, error=error)
            else:
                step = work.following(steps, answer)
        return step

    def _perform(self, step: work.Step) -> Any:
        parts: Any
        match step:
            case work.Ask():
                return self._http.send(work.request_of(self._http, step))
            case work.Open():
                return self._opened(step)
            case work.NextLine() | work.NextChunk():
                parts = self._lines if isinstance(step, work.NextLine) else self._chunks
                return next(parts, None)
            case work.ReadAll():
                return self._open and self._open.read()
            case work.Tell():
                return step.listener(step.status)
            case work.Pause():
                return self._pause(step.seconds)

    def _opened(self, step: work.Open) -> httpx2.Response:
        self.close()
        request = work.request_of(self._http, step)
        self._open = self._http.send(request, stream=True, follow_redirects=True)
        self._lines, self._chunks = self._open.iter_lines(), self._open.iter_bytes()
        return self._open
