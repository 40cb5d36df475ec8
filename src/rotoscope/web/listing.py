"""A key's own requests: list them, newest first, and remove one for good."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from rotoscope.errors import (
    ForbiddenError,
    InUseError,
    InvalidInputError,
    UnauthorizedError,
    UnknownRequestError,
)
from rotoscope.jobs.job import Job, State
from rotoscope.schema.output import AnyWord, FieldError, Page
from rotoscope.web import answers
from rotoscope.web.answers import as_json
from rotoscope.web.auth import Owner, client_owner, scheme
from rotoscope.web.errors import describe, invalid
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.retention import drop_everything
from rotoscope.web.routes import own_job
from rotoscope.web.urls import base_url

STATES: Mapping[AnyWord, Sequence[State]] = {
    "in_queue": (State.IN_QUEUE,),
    "in_progress": (State.IN_PROGRESS,),
    "completed": (State.SUCCEEDED, State.FAILED),
    "succeeded": (State.SUCCEEDED,),
    "failed": (State.FAILED,),
    "cancelled": (State.CANCELLED,),
}
_BYTES = 8

router = APIRouter(
    prefix="/v1/requests",
    tags=["requests"],
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, InvalidInputError),
)


@router.get("", response_model=Page)
def list_requests(  # noqa: PLR0913 - the filters of the contract
    request: Request,
    owner: Owner,
    parts: PartsDep,
    *,
    status: Annotated[
        AnyWord | None, Query(description="Only these; completed is succeeded or failed.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[
        str | None, Query(max_length=100, description="The next_cursor of the page before.")
    ] = None,
) -> Response:
    """List the key's own requests, newest first."""
    before = None if cursor is None else _read(cursor)
    found = _newest(owner, status, before, limit + 1, parts)
    page, more = found[:limit], len(found) > limit
    base = base_url(request, parts)
    return as_json(
        Page(
            requests=[answers.listed(job, base) for job in page],
            next_cursor=_cursor(page[-1]) if more else None,
        )
    )


@router.delete(
    "/{request_id}", status_code=204, responses=describe(UnknownRequestError, InUseError)
)
def delete(job: Annotated[Job, Depends(own_job)], parts: PartsDep) -> Response:
    """Remove a request with its input and files, now; a queued one is cancelled first."""
    after = parts.store.cancel(job.id) or job
    if not drop_everything(after, parts) and parts.store.get(job.id):
        raise InUseError(
            "The request is running; cancel it first with POST /v1/requests/{id}/cancel"
            "?running=true, and delete it when it has stopped."
        )
    return Response(status_code=204)


def _newest(
    owner: str, word: AnyWord | None, before: int | None, limit: int, parts: Parts
) -> Sequence[Job]:
    if word is None:
        return parts.store.list(owner, before=before, limit=limit)
    found = [
        job
        for state in STATES[word]
        for job in parts.store.list(owner, state=state, before=before, limit=limit)
    ]
    return sorted(found, key=lambda job: -job.seq)[:limit]


def _cursor(last: Job) -> str:
    return urlsafe_b64encode(last.seq.to_bytes(_BYTES)).decode().rstrip("=")


def _read(cursor: str) -> int:
    found = _decoded(cursor)
    if len(found) != _BYTES or found[0] > 127:  # noqa: PLR2004 - the sign of a number
        problem = "Send the next_cursor of the page before, as it was."
        raise invalid(
            [FieldError(loc=["query", "cursor"], msg=problem, type="cursor", input=cursor)]
        )
    return int.from_bytes(found)


def _decoded(cursor: str) -> bytes:
    try:
        return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        return b""
