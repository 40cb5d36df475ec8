"""The Model API: submit a job, ask how it is, take its result, cancel it."""

import re
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from rotoscope import telemetry
from rotoscope.errors import (
    BodyTooLargeError,
    ForbiddenError,
    IdempotencyConflictError,
    InvalidInputError,
    NotJsonError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
    UnknownRequestError,
    WrongContentTypeError,
)
from rotoscope.jobs.job import Job, State
from rotoscope.jobs.store import JobStore
from rotoscope.schema.catalogue import MODELS, Entry
from rotoscope.schema.input import MODEL_ID, VideoToVideoInput, parse_input
from rotoscope.schema.output import Cancelled, Result, Status, Submitted
from rotoscope.web import answers
from rotoscope.web.accept import accept
from rotoscope.web.answers import as_json
from rotoscope.web.asked_webhook import AskedWebhook
from rotoscope.web.auth import Owner, client_owner, scheme
from rotoscope.web.bodies import JsonBody
from rotoscope.web.catalogue import find_model
from rotoscope.web.errors import describe
from rotoscope.web.foreseen import foreseen_warnings
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.retention import check_files
from rotoscope.web.terms import AskedHeaders
from rotoscope.web.urls import base_url
from rotoscope.web.waiting import asked_wait, wait_for_end

log = telemetry.logger()

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
        raise _unknown()
    if job.key_id != owner:
        raise ForbiddenError("This request belongs to another key.")
    return job


@router.post(
    "/models/{model_id:path}",
    response_model=Submitted | Result,
    openapi_extra={"requestBody": {"required": True, "content": _INPUT}},
    responses=describe(
        NotJsonError,
        UnknownModelError,
        IdempotencyConflictError,
        BodyTooLargeError,
        WrongContentTypeError,
        InvalidInputError,
        TooManyRequestsError,
        UnavailableError,
    ),
)
async def submit(  # noqa: PLR0913, PLR0917 - FastAPI gives each its part of the request
    request: Request,
    owner: Owner,
    model: Annotated[Entry, Depends(_model)],
    body: JsonBody,
    headers: AskedHeaders,
    webhook: AskedWebhook,
    parts: PartsDep,
) -> Response:
    """Queue a job. It is on disk when this answers.

    With `Prefer: wait=SECONDS`, at most 60, the answer waits for the job's end, and is that of
    `/result` if it comes in time.
    """
    asked = await run_in_threadpool(parse_input, body)
    terms = headers.terms(owner, body, model.model_id, webhook)
    made = await run_in_threadpool(accept, asked, model.model_id, terms, parts)
    marks = {"Idempotent-Replayed": "true"} if made.replayed else {}
    if (seconds := asked_wait(request)) is None:
        answer = await run_in_threadpool(_submitted, made.job, asked, request, parts)
    else:
        marks["Preference-Applied"] = f"wait={seconds}"
        job = await wait_for_end(made.job, seconds, request, parts)
        tell = _result if job.ended else partial(_submitted, asked=asked)
        answer = await run_in_threadpool(tell, job, request=request, parts=parts)
    answer.headers.update(marks)
    return answer


def _submitted(job: Job, asked: VideoToVideoInput, request: Request, parts: Parts) -> Response:
    warnings = [*job.warnings, *foreseen_warnings(asked)]
    told = [warning for place, warning in enumerate(warnings) if warning not in warnings[:place]]
    return as_json(answers.submitted(job, base_url(request, parts), told))


def _result(job: Job, request: Request, parts: Parts, *, include_cost: bool = False) -> Response:
    check_files(job, parts)
    return as_json(answers.result(job, base_url(request, parts), include_cost=include_cost))


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
    return _result(job, request, parts, include_cost=include_cost)


@router.post(
    "/requests/{request_id}/cancel",
    status_code=202,
    response_model=Cancelled,
    responses=describe(UnknownRequestError, InvalidInputError),
)
def cancel(
    job: Annotated[Job, Depends(own_job)],
    parts: PartsDep,
    *,
    running: Annotated[bool, Query(description="Stop it at its next step if it runs.")] = False,
) -> Response:
    """Withdraw a job that is still queued; with `running=true`, stop one that runs.

    An ended job stays as it is, and so does a running one without `running=true`.
    """
    return as_json(answers.cancelled(withdraw(job, parts, running=running)), status=202)


def withdraw(job: Job, parts: Parts, *, running: bool = False) -> Job:
    """Cancel a job if it can be, and tell how it is afterwards."""
    after = parts.store.cancel(job.id, running=running) or job
    if after.version != job.version and after.state is State.CANCELLED:
        log.info("job_cancelled", request_id=job.id)
    return after


def placed(job: Job, store: JobStore) -> tuple[Job, int | None]:
    """The job with its place, from one moment: between two reads it may be claimed or put back.

    Raises:
        UnknownRequestError: It was deleted meanwhile.
    """
    seen = job
    while True:
        place = store.position(job.id) if seen.state is State.IN_QUEUE else None
        if (seen.state is State.IN_QUEUE) == (place is not None):
            return seen, place
        found = store.get(job.id)
        if found is None:
            raise _unknown()
        seen = found


def _unknown() -> UnknownRequestError:
    return UnknownRequestError("There is no such request, or it has expired.")
