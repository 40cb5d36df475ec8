"""A request's status as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.types import Message, Scope

from rotoscope.jobs.job import Job
from rotoscope.web import events
from rotoscope.web.events import follow
from rotoscope.web.parts import Parts
from tests.web.conftest import Site
from tests.web.test_routes import PROGRESS

BASE = "http://testserver"


@dataclass(frozen=True)
class Event:
    id: int
    status: dict[str, Any]


def read(text: str) -> Event | None:
    """One event; None for a comment or a word on the connection."""
    lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return Event(int(lines["id"]), json.loads(lines["data"])) if "data" in lines else None


async def after(stream: AsyncIterator[str]) -> Event:
    """The next event."""
    async for text in stream:
        if found := read(text):
            return found
    raise AssertionError("The stream ended.")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.001)


def test_each_change_is_an_event(site: Site) -> None:
    """From the queue to the end, with the row's version as id; then the stream ends."""
    site.submit()
    job_id = site.submit()

    async def listen() -> None:
        stream = follow(job_id, None, BASE, site.parts)
        queued = await after(stream)
        assert queued.status == site.status(job_id)
        assert queued.status["queue_position"] == 2
        site.claim()
        assert (await after(stream)).status["queue_position"] == 1
        job = site.claim()
        started = await after(stream)
        site.tell(job, "heartbeat", progress=PROGRESS)
        running = await after(stream)
        assert running.status["progress"]["step"] == PROGRESS["step"]
        site.finish(job)
        ended = await after(stream)
        assert ended.status["status"] == "completed"
        assert queued.id < started.id < running.id < ended.id
        assert [text async for text in stream] == []

    asyncio.run(listen())


def test_a_stream_goes_on_where_it_broke_off(site: Site) -> None:
    """What was seen is not told again."""
    job_id = site.submit()
    job = site.claim()

    async def listen() -> None:
        first = await after(follow(job_id, None, BASE, site.parts))
        stream = follow(job_id, first.id, BASE, site.parts)
        assert read(await anext(stream)) is None
        waiting = asyncio.create_task(after(stream))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        site.finish(job)
        ended = await waiting
        assert ended.status["status"] == "completed"

    asyncio.run(listen())


def test_a_quiet_stream_shows_that_it_lives(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """By comments, which clients pass over."""
    monkeypatch.setattr(events, "QUIET_LOOKS", 3)
    job_id = site.submit()

    async def listen() -> list[str]:
        stream = follow(job_id, None, BASE, site.parts)
        return [await anext(stream) for _ in range(4)]

    assert asyncio.run(listen())[2:] == [": waiting\n\n"] * 2


def test_a_stream_ends_with_its_request_or_its_server(site: Site) -> None:
    """A deleted request has no more events; those of an ending server are asked for elsewhere."""
    deleted, kept = site.submit(), site.submit()

    async def listen(job_id: str) -> list[str]:
        return [text async for text in follow(job_id, None, BASE, site.parts)]

    site.http.delete(f"/v1/requests/{deleted}", headers=site.client)
    assert asyncio.run(listen(deleted)) == ["retry: 1000\n\n"]
    site.parts.bell.close()
    assert asyncio.run(listen(kept)) == ["retry: 1000\n\n"]


def test_the_stream_over_http(site: Site) -> None:
    """One that runs while the job does, and one that comes too late to see anything new."""
    job_id = site.submit()
    path = f"/v1/requests/{job_id}/events"
    with ThreadPoolExecutor(1) as pool:
        streamed = pool.submit(site.http.get, path, headers=site.client)
        site.finish(site.claim())
        answer = streamed.result()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    told = [found for text in answer.text.split("\n\n") if (found := read(text))]
    assert told[-1].status == site.status(job_id)

    def again(last: object) -> int:
        headers = site.client | {"Last-Event-ID": str(last)}
        return site.http.get(path, headers=headers).status_code

    assert again(told[-1].id) == 204
    assert again(told[-1].id - 1) == 200
    assert again("first") == 422


def test_a_slow_or_gone_listener_costs_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is read nothing is looked at; the stream ends when nobody listens."""
    job_id = site.submit()
    looks: list[str] = []
    look = events._look

    def watched(job_id: str, parts: Parts) -> tuple[Job, int | None] | None:
        looks.append(job_id)
        return look(job_id, parts)

    monkeypatch.setattr(events, "_look", watched)

    async def listen() -> int:
        stuck, gone = asyncio.Event(), asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if b"data:" in message.get("body", b""):
                stuck.set()
                await gone.wait()

        stream = asyncio.create_task(site.http.app(scope_of(site, job_id), receive, send))
        await asyncio.wait_for(stuck.wait(), 60)
        await asyncio.sleep(0.1)
        seen = len(looks)
        gone.set()
        await asyncio.wait_for(stream, 60)
        return seen

    assert asyncio.run(listen()) == 1


def scope_of(site: Site, job_id: str) -> Scope:
    """A request for the events of a job, as a server hands it on."""
    token = site.client["Authorization"].encode()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"/v1/requests/{job_id}/events",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"authorization", token)],
        "client": ("192.0.2.7", 50000),
        "server": ("testserver", 80),
    }


def test_events_are_for_the_requests_own_key(site: Site) -> None:
    """As its status is."""
    path = f"/v1/requests/{site.submit()}/events"
    assert site.http.get(path, headers=site.other).status_code == 403
    assert site.http.get(path).status_code == 401
