"""The client to await: the same as blocking.py, word for word but for `await`."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, Unpack

import anyio
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


class AsyncClient:
    """One server, one key; for one event loop, of asyncio or trio.

    Args:
        base_url: The server's address, without /v1.
        key: An API key; a server on this machine may need none.
        patience_s: How long a question is repeated while the server does not answer.
        transport: Another way to the server, for tests.
        pause: What waits, for tests.

    The methods are those of Client, documented there, to be awaited; but a result is saved by
    `await client.download(result, to)`, and `on_status` may be async. Methods raise ApiError where
    the server refuses and UnreachableError where it does not answer.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        patience_s: float = work.PATIENCE_S,
        transport: httpx2.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._patience_s = patience_s
        self._pause = pause
        self._http = httpx2.AsyncClient(
            base_url=work.address(base_url), headers=work.headers_for(key), transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def run(  # noqa: PLR0913 - each is something else
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
        asked = ask_for(video, prompt, image, loras, fields)
        request_id = await self._do(work.start(asked, model_id, self._patience_s))
        with shown(progress) as on_status:
            result = await self.wait(request_id, on_status, timeout_s=timeout_s)
        if result.url is None:
            raise NoResultError(result)
        return result

    async def submit(  # noqa: PLR0913 - a submit's own options
        self,
        body: work.Body,
        model_id: str = MODEL_ID,
        *,
        idempotency_key: str | None = None,
        webhook: str | None = None,
        priority: str | None = None,
        deadline_s: int | None = None,
    ) -> Submitted:
        return await self._do(
            work.submit(
                body, model_id, self._patience_s, idempotency_key, webhook, priority, deadline_s
            )
        )

    async def plan(self, body: work.Body, model_id: str = MODEL_ID) -> Planned:
        return await self._do(work.plan(body, model_id))

    async def status(self, request_id: str) -> Status:
        return await self._do(work.status(request_id, self._patience_s))

    async def result(self, request_id: str) -> Finished:
        return await self._do(work.result(request_id, self._patience_s))

    async def wait(
        self,
        request_id: str,
        on_status: work.OnStatus | None = None,
        *,
        poll_s: float = work.POLL_S,
        timeout_s: float | None = None,
    ) -> Finished:
        waiting = work.wait(request_id, on_status, poll_s, timeout_s, self._patience_s)
        return await self._do(waiting)

    async def events(
        self, request_id: str, *, poll_s: float = work.POLL_S
    ) -> AsyncIterator[Status]:
        steps = work.events(request_id, poll_s, self._patience_s)
        async with self._wire() as wire:
            while isinstance(told := await wire.advance(steps), work.Give):
                yield told.value

    async def cancel(self, request_id: str, *, running: bool = False) -> Cancelled:
        return await self._do(work.cancel(request_id, self._patience_s, running=running))

    async def delete(self, request_id: str) -> None:
        await self._do(work.delete(request_id, self._patience_s))

    async def list(
        self, *, limit: int = 20, status: AnyWord | None = None, cursor: str | None = None
    ) -> Page:
        return await self._do(work.requests(limit, status, cursor, self._patience_s))

    async def models(self, **query: str | int | bool) -> Sequence[dict[str, Any]]:
        return await self._do(work.models(query, self._patience_s))

    async def upload(self, file: File, name: str | None = None) -> Uploaded:
        return await self._do(work.upload(file, name))

    async def preview(self, running: Status | Listed) -> bytes | None:
        return await self._do(work.preview(running))

    async def download(self, result: Result, to: str | Path) -> Path:
        return await self._do(work.download(result, Path(to)))

    async def download_control(self, result: Result, to: str | Path) -> Path | None:
        return await self._do(work.download_control(result, Path(to)))

    async def _do(self, steps: work.Work[work.Value]) -> work.Value:
        async with self._wire() as wire:
            done: work.Value = (await wire.advance(steps)).value
            return done

    @asynccontextmanager
    async def _wire(self) -> AsyncIterator["_Wire"]:
        wire = _Wire(self._http, self._pause)
        try:
            yield wire
        finally:
            await wire.close()


class _Wire:
    """Carries out the steps of one piece of work; at most one answer is open at a time."""

    def __init__(self, http: httpx2.AsyncClient, pause: Callable[[float], Awaitable[None]]) -> None:
        self._http = http
        self._pause = pause
        self._open: httpx2.Response | None = None

    async def close(self) -> None:
        if self._open is not None:
            await self._open.aclose()

    async def advance(self, steps: work.Work[Any]) -> work.Give | work.Done:
        """Up to the next value that is given, or the end."""
        step = work.following(steps)
        while not isinstance(step, work.Give | work.Done):
            try:
                with work.reaching(str(self._http.base_url)):
                    answer = await self._perform(step)
            except UnreachableError as error:
                step = work.following(steps, error=error)
            else:
                step = work.following(steps, answer)
        return step

    async def _perform(self, step: work.Step) -> Any:
        parts: Any
        match step:
            case work.Ask():
                return await self._http.send(work.request_of(self._http, step))
            case work.Open():
                return await self._opened(step)
            case work.NextLine() | work.NextChunk():
                parts = self._lines if isinstance(step, work.NextLine) else self._chunks
                return await anext(parts, None)
            case work.ReadAll():
                return self._open and await self._open.aread()
            case work.Tell():
                heard = step.listener(step.status)
                return await heard if inspect.isawaitable(heard) else None
            case work.Pause():
                return await self._pause(step.seconds)

    async def _opened(self, step: work.Open) -> httpx2.Response:
        await self.close()
        request = work.request_of(self._http, step)
        self._open = await self._http.send(request, stream=True, follow_redirects=True)
        self._lines, self._chunks = self._open.aiter_lines(), self._open.aiter_bytes()
        return self._open
