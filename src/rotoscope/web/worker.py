"""The server's side of schema/worker.py: hand out jobs, take heartbeats, files and outcomes.

A claim waits for a job by long poll. It is woken by submits, and looks by itself once a second for
those that came another way (a release, a lost lease, another server on the same database).
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from rotoscope import telemetry
from rotoscope.errors import (
    BodyTooLargeError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    UnauthorizedError,
    UnknownRequestError,
)
from rotoscope.jobs.job import Lease, State
from rotoscope.jobs.store import Beat
from rotoscope.schema.output import FieldError, Outcome
from rotoscope.schema.worker import (
    Assignment,
    Beaten,
    Claim,
    Fail,
    Heartbeat,
    Release,
    StoredFile,
    Succeed,
)
from rotoscope.web.affinity import affinity_of
from rotoscope.web.answers import as_json
from rotoscope.web.auth import check_worker, key_name, scheme
from rotoscope.web.bodies import save
from rotoscope.web.errors import describe, invalid
from rotoscope.web.files import send
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.pools import check_pool

log = telemetry.logger()

RECHECK_S = 1.0
MOST_OUTPUT_BYTES = 16 * 1024**3

router = APIRouter(
    prefix="/v1/worker",
    tags=["worker"],
    dependencies=[Depends(check_worker), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, InvalidInputError),
)
JOB = "/jobs/{job_id}"
NO_CONTENT = 204


@router.post("/claim", response_model=Assignment, responses={204: {"description": "No job yet"}})
async def claim(message: Claim, request: Request, parts: PartsDep) -> Response:
    """The next job, as soon as there is one; 204 after `wait_s` without."""
    check_pool(parts.settings.pools, message.pool, key_name(request))
    await run_in_threadpool(parts.presences.note, message, parts.store)
    lease = await _wait_for_lease(message, request, parts)
    if lease is None:
        return Response(status_code=NO_CONTENT)
    if await request.is_disconnected():
        # Nobody would run it: better put back now than when the lease ends.
        await run_in_threadpool(parts.store.release, lease.job.id, lease.token)
        parts.bell.ring()
        return Response(status_code=NO_CONTENT)
    log.info("job_claimed", request_id=lease.job.id, worker=message.worker_id)
    return as_json(_assignment(lease, parts))


@router.post(
    JOB + "/heartbeat",
    status_code=204,
    responses={
        200: {"model": Beaten, "description": "The job is to be stopped"},
        **describe(ConflictError),
    },
)
def heartbeat(job_id: str, message: Heartbeat, parts: PartsDep) -> Response:
    """Keep the job, and tell how far it is."""
    # A worker's warnings only grow; none told means none new.
    warnings = message.warnings or None
    beat = parts.store.heartbeat(job_id, message.token, message.progress, warnings)
    if message.presence:
        parts.presences.note(message.presence, parts.store)
    return as_json(Beaten(cancelling=True)) if beat is Beat.CANCELLING else _held(beat is Beat.HELD)


@router.put(
    JOB + "/files/{name}",
    status_code=201,
    response_model=StoredFile,
    responses=describe(ConflictError, BodyTooLargeError),
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {"schema": {}}}}},
)
async def put_file(
    job_id: str,
    name: str,
    lease_token: Annotated[str, Header()],
    request: Request,
    parts: PartsDep,
) -> Response:
    """Store a result's file; it counts only once a succeed names its key."""
    attempt = await run_in_threadpool(_attempt, parts, job_id, lease_token)
    with parts.storage.receive(MOST_OUTPUT_BYTES) as incoming:
        await save(request, incoming, MOST_OUTPUT_BYTES)
        try:
            key = await run_in_threadpool(
                parts.storage.keep_output, incoming, job_id, attempt, name
            )
        except ValueError as error:
            raise invalid(
                [FieldError(loc=["path", "name"], msg=str(error), type="file_name")]
            ) from None
    stored = StoredFile(key=key, size=incoming.size, sha256=incoming.sha256)
    return as_json(stored, status=201)


@router.post(JOB + "/succeed", status_code=204, responses=describe(ConflictError))
def succeed(job_id: str, message: Succeed, parts: PartsDep) -> Response:
    """End the job well, with the files that were stored for it."""
    keys = {"file": message.file} | ({"control": message.control.file} if message.control else {})
    for field, key in keys.items():
        if not key.startswith(f"outputs/{job_id}/") or not parts.storage.output(key):
            problem = "Name the key that the file upload of this job answered."
            raise invalid([FieldError(loc=["body", field], msg=problem, type="file_key")])
    outcome = Outcome(**{name: getattr(message, name) for name in Outcome.model_fields})
    done = parts.store.succeed(job_id, message.token, outcome, message.warnings or None)
    if done:
        job = parts.store.get(job_id)
        # A job whose cancel was asked for ends as cancelled, and keeps nothing.
        made = job is not None and job.state is State.SUCCEEDED
        parts.storage.drop_outputs(job_id, keep=keys.values() if made else ())
        log.info("job_succeeded" if made else "job_cancelled", request_id=job_id)
    return _held(done)


@router.post(JOB + "/fail", status_code=204, responses=describe(ConflictError))
def fail(job_id: str, message: Fail, parts: PartsDep) -> Response:
    """End the job badly, with the reason."""
    done = parts.store.fail(job_id, message.token, message.error, message.warnings or None)
    if done:
        parts.storage.drop_outputs(job_id)
        log.info("job_failed", request_id=job_id, code=message.error.code)
    return _held(done)


@router.post(JOB + "/release", status_code=204, responses=describe(ConflictError))
def release(job_id: str, message: Release, parts: PartsDep) -> Response:
    """Hand the job back to its place in the queue."""
    done = parts.store.release(job_id, message.token)
    if done:
        parts.bell.ring()
        log.info("job_released", request_id=job_id)
    return _held(done)


@router.post(JOB + "/stop", status_code=204, responses=describe(ConflictError))
def stop(job_id: str, message: Release, parts: PartsDep) -> Response:
    """End the job as cancelled, which its owner asked for while it ran."""
    done = parts.store.stop(job_id, message.token)
    if done:
        parts.storage.drop_outputs(job_id)
        log.info("job_cancelled", request_id=job_id)
    return _held(done)


@router.get(
    "/uploads/{upload_id}",
    response_class=FileResponse,
    responses=describe(UnknownRequestError),
)
def get_upload(upload_id: str, request: Request, parts: PartsDep) -> Response:
    """The bytes of an upload that a job's input names."""
    file = parts.storage.upload_file(upload_id)
    if file is None:
        raise UnknownRequestError("There is no such upload, or it has expired.")
    return send(request, file, parts, {})


async def _wait_for_lease(message: Claim, request: Request, parts: Parts) -> Lease | None:
    clock = asyncio.get_running_loop().time
    end = clock() + message.wait_s
    while not (parts.bell.closed or await request.is_disconnected()):
        rung = parts.bell.listen()
        lease = await run_in_threadpool(_claim, message, parts)
        left = end - clock()
        if lease or left <= 0:
            return lease
        await parts.bell.wait(rung, min(left, RECHECK_S))
    return None


def _claim(message: Claim, parts: Parts) -> Lease | None:
    return parts.store.claim(
        message.worker_id,
        pool=message.pool,
        loaded=message.loaded,
        limits=parts.keys.running_limits(),
    )


def _assignment(lease: Lease, parts: Parts) -> Assignment:
    return Assignment(
        request_id=lease.job.id,
        model_id=lease.job.model_id,
        attempt=lease.job.attempt,
        token=lease.token,
        lease_s=parts.settings.lease_s,
        heartbeat_s=parts.settings.heartbeat_s,
        affinity=affinity_of(lease.input),
        warnings=lease.job.warnings,
        input=lease.input,
    )


def _attempt(parts: Parts, job_id: str, token: str) -> int:
    """The number of the attempt that holds the job; its lease starts anew."""
    beat = parts.store.heartbeat(job_id, token)
    job = parts.store.get(job_id)
    if beat is Beat.LOST or job is None:
        raise _lost()
    return job.attempt


def _held(done: bool) -> Response:  # noqa: FBT001 - the store's own answer
    if not done:
        raise _lost()
    return Response(status_code=NO_CONTENT)


def _lost() -> ConflictError:
    return ConflictError("This lease does not hold the job: it ran out, or the job ended.")
