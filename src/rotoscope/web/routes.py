"""The Model API: submit a job, ask how it is, take its result, cancel it."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from rotoscope import telemetry
from rotoscope.errors import (
    BodyTooLargeError,
    ForbiddenError,
    InvalidInputError,
    NotJsonError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
    UnknownRequestError,
    WrongContentTypeError,
)
from rotoscope.jobs.job import Job, State
from rotoscope.jobs.store import JobStore, NewJob
from rotoscope.schema.catalogue import MODELS, Entry
from rotoscope.schema.input import MODEL_ID, VideoToVideoInput, parse_input
from rotoscope.schema.output import Adjustment, Cancelled, Result, Status, Submitted
from rotoscope.web import answers
from rotoscope.web.admission import objections
from rotoscope.web.answers import as_json
from rotoscope.web.auth import Owner, client_owner, scheme
from rotoscope.web.bodies import JsonBody
from rotoscope.web.catalogue import find_model
from rotoscope.web.errors import describe, invalid
from rotoscope.web.foreseen import foreseen_warnings
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.retention import check_files, hold_uploads
from rotoscope.web.urls import base_url

log = telemetry.logger()

RETRY_AFTER_S = 30
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

router = APIRouter(
    prefix="/v1",
    tags=["requests"],
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError),
)
_INPUT = {"application/json": {"schema": MODELS[MODEL_ID].input_schema}}


async def _model(model_id: str) -> Entry:
    return find_model(model_id)


def own_job(
    request_id: Annotated[str, Path(description="As the submit answered it.")],
    owner: Owner,
    parts: PartsDep,
) -> Job:
    """The job of this id, if it is the caller's."""
    job = parts.store.get(request_id) if _REQUEST_ID.fullmatch(request_id) else None
    if job is None:
        raise UnknownRequestError("There is no such request, or it has expired.")
    if job.key_id != owner:
        raise ForbiddenError("This request belongs to another key.")
    return job


@router.post(
    "/models/{model_id:path}",
    response_model=Submitted,
    openapi_extra={"requestBody": {"required": True, "content": _INPUT}},
    responses=describe(
        NotJsonError,
        UnknownModelError,
        BodyTooLargeError,
        WrongContentTypeError,
        InvalidInputError,
        UnavailableError,
    ),
)
def submit(
    request: Request,
    owner: Owner,
    model: Annotated[Entry, Depends(_model)],
    body: JsonBody,
    parts: PartsDep,
) -> Response:
    """Queue a job. It is on disk when this answers."""
    asked = parse_input(body)
    job = accept(asked, model.model_id, owner, parts)
    warnings = foreseen_warnings(asked)
    return as_json(answers.submitted(job, base_url(request, parts), warnings))


def accept(
    asked: VideoToVideoInput,
    model_id: str,
    owner: str,
    parts: Parts,
    warnings: tuple[Adjustment, ...] = (),
) -> Job:
    """Queue what may be queued, whichever dialect asked for it.

    Raises:
        InvalidInputError: The input names something that is not there or may not be used.
        UnavailableError: The queue is full, or the server is ending.
    """
    if found := objections(asked, owner, parts):
        raise invalid(found)
    _check_room(parts)
    new = NewJob(model_id=model_id, key_id=owner, input=asked, warnings=warnings)
    hold_uploads(asked, new.id, parts)
    job = parts.store.submit(new).job
    parts.bell.ring()
    log.info("job_submitted", request_id=job.id, owner=owner)
    return job


@router.get(
    "/requests/{request_id}/status",
    response_model=Status,
    responses=describe(UnknownRequestError),
)
def get_status(
    request: Request, job: Annotated[Job, Depends(own_job)], parts: PartsDep
) -> Response:
    """Where a job is: its place in the queue, its progress, whether it ended."""
    seen, position = placed(job, parts.store)
    return as_json(answers.status(seen, base_url(request, parts), position))


@router.get(
    "/requests/{request_id}/result",
    response_model=Result,
    responses=describe(UnknownRequestError, InvalidInputError),
)
def get_result(
    request: Request,
    job: Annotated[Job, Depends(own_job)],
    parts: PartsDep,
    *,
    include_cost: bool = False,
) -> Response:
    """What a job made, why it failed, or that it has not ended."""
    check_files(job, parts)
    return as_json(answers.result(job, base_url(request, parts), include_cost=include_cost))


@router.post(
    "/requests/{request_id}/cancel",
    status_code=202,
    response_model=Cancelled,
    responses=describe(UnknownRequestError),
)
def cancel(job: Annotated[Job, Depends(own_job)], parts: PartsDep) -> Response:
    """Withdraw a job that is still queued; a running or ended one stays as it is."""
    return as_json(answers.cancelled(withdraw(job, parts)), status=202)


def withdraw(job: Job, parts: Parts) -> Job:
    """Cancel a job if it can be, and tell how it is afterwards."""
    after = parts.store.cancel(job.id) or job
    if after.version != job.version and after.state is State.CANCELLED:
        log.info("job_cancelled", request_id=job.id)
    return after


def _check_room(parts: Parts) -> None:
    if parts.bell.closed:
        raise UnavailableError(
            "The server is ending; send the request again in a moment.",
            retry_after_s=RETRY_AFTER_S,
        )
    most = parts.settings.max_queue
    if parts.store.waiting(most=most) >= most:
        raise UnavailableError(
            f"The queue is full: {most:,} jobs wait. Try again later.",
            retry_after_s=RETRY_AFTER_S,
        )


def placed(job: Job, store: JobStore) -> tuple[Job, int | None]:
    """The job with its place, from one moment: between two reads it may be claimed or put back."""
    seen = job
    while True:
        place = store.position(job.id) if seen.state is State.IN_QUEUE else None
        if (seen.state is State.IN_QUEUE) == (place is not None):
            return seen, place
        seen = store.get(job.id) or seen
