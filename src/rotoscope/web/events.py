"""GET /v1/requests/{id}/events: a request's status as it changes, as server-sent events.

Each event is the whole answer of /status, and its id is the version of the request's row. A stream
looks at the row by itself, so it works on every server, and a listener that is slow only misses
what has changed meanwhile. It ends with the request; asked for once more, it is a 204, which tells
a browser to stop.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from rotoscope.errors import (
    ForbiddenError,
    InvalidInputError,
    UnauthorizedError,
    UnknownRequestError,
)
from rotoscope.jobs.job import Job
from rotoscope.web import answers
from rotoscope.web.auth import client_owner, scheme
from rotoscope.web.errors import describe
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.routes import own_job, placed
from rotoscope.web.urls import base_url

LOOK_S = 0.5
"""Seconds between two looks at the row."""
QUIET_LOOKS = 30
"""Looks without news after which a comment shows that the stream lives."""
RETRY_MS = 1000
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
EVENT_STREAM = "text/event-stream"

router = APIRouter(
    prefix="/v1",
    tags=["requests"],
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, UnknownRequestError, InvalidInputError),
)


@router.get(
    "/requests/{request_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
        204: {"description": "Nothing comes after the event that was seen last."},
    },
)
async def events(
    request: Request,
    job: Annotated[Job, Depends(own_job)],
    parts: PartsDep,
    last_event_id: Annotated[
        int | None, Header(ge=0, description="The id of the event that was seen last.")
    ] = None,
) -> Response:
    """Follow a request until it has ended: an event with its status at each change."""
    if job.ended and last_event_id is not None and last_event_id >= job.version:
        return Response(status_code=204)
    stream = follow(job.id, last_event_id, base_url(request, parts), parts)
    return StreamingResponse(stream, media_type=EVENT_STREAM, headers=HEADERS)


async def follow(job_id: str, seen: int | None, base: str, parts: Parts) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    told: tuple[int, int | None] | None = None
    quiet = 0
    while not parts.bell.closed:
        found = await run_in_threadpool(_look, job_id, parts)
        if found is None:
            return
        job, place = found
        quiet = quiet + 1 if told == (job.version, place) or job.version == seen else 0
        told, seen = (job.version, place), None
        if not quiet:
            yield f"id: {job.version}\ndata: {_status(job, base, place)}\n\n"
        elif quiet % QUIET_LOOKS == 0:
            yield ": waiting\n\n"
        if job.ended:
            return
        await asyncio.sleep(LOOK_S)


def _look(job_id: str, parts: Parts) -> tuple[Job, int | None] | None:
    job = parts.store.get(job_id)
    try:
        return placed(job, parts.store) if job else None
    except UnknownRequestError:
        return None


def _status(job: Job, base: str, place: int | None) -> str:
    return answers.status(job, base, place).model_dump_json(exclude_unset=True)
