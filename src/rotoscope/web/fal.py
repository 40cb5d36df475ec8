"""fal's queue, over the same jobs: submit, status, its stream, result, cancel.

A second way to say the same: the input becomes our own, goes through the same admission into the
same table, and what fal's clients are told is read from there. Their paths are below /fal-ai, the
key comes as "Authorization: Key <token>", and errors have fal's shape.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute

from rotoscope.errors import (
    InvalidInputError,
    RequestError,
    UnauthorizedError,
    UnknownModelError,
    UnknownRequestError,
)
from rotoscope.jobs.job import Job, State
from rotoscope.jobs.store import JobStore
from rotoscope.schema.fal import (
    APPS,
    FalError,
    FalFieldError,
    FalOutput,
    FalStatus,
    FalSubmitted,
    FalVideo,
    Level,
    Log,
    parse_fal,
)
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome
from rotoscope.web.accept import accept
from rotoscope.web.auth import key_name, owner_of, token_of
from rotoscope.web.bodies import JsonBody
from rotoscope.web.events import EVENT_STREAM, HEADERS, LOOK_S, QUIET_LOOKS
from rotoscope.web.fal_headers import Headers, Queries, check_queries, left_out, priority_of
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.retention import check_files
from rotoscope.web.routes import own_job, placed, withdraw
from rotoscope.web.terms import Priority, Terms
from rotoscope.web.urls import base_url

CANCELLED = 499
_FAILURE_WORDS = {"internal_error": "internal_server_error"}
APPS_OF_MODEL = {model: "/".join(app.split("/")[:2]) for app, model in APPS.items()}
"""Where the requests of a model are: below owner and app, without the rest of the path."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class FalRoute(APIRoute):
    """Answers refusals as fal does: `detail` is a sentence, or a list of what is wrong."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestError as error:
                return _refusal(error, request)
            except RequestValidationError as error:
                return _refusal(InvalidInputError(error.errors()), request)

        return handled


async def _owner(request: Request, parts: PartsDep) -> str:
    token = token_of(request, "Key")
    if token is None and not parts.settings.anonymous:
        raise UnauthorizedError('A key is needed: send "Authorization: Key <token>".')
    return await owner_of(token, request, parts)


Owner = Annotated[str, Depends(_owner)]


def _job(app: str, request_id: str, owner: Owner, parts: PartsDep) -> Job:
    """The caller's own job, if it is one of this app's."""
    job = own_job(request_id, owner, parts)
    if APPS_OF_MODEL.get(job.model_id) != f"fal-ai/{app}":
        raise UnknownRequestError(f"fal-ai/{app} has no such request.")
    return job


router = APIRouter(prefix="/fal-ai", route_class=FalRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a submit asks for, in our own terms."""

    model_id: str
    input: VideoToVideoInput
    priority: Priority | None
    start_within_s: float | None
    warnings: tuple[Adjustment, ...]


def _wanted(path: str, body: JsonBody, headers: Headers, queries: Queries) -> Wanted:
    model_id = APPS.get(f"fal-ai/{path}")
    if model_id is None:
        raise UnknownModelError(f"There is no fal-ai/{path} here, only {', '.join(APPS)}.")
    check_queries(queries)
    asked, ignored = parse_fal(body)
    return Wanted(
        model_id=model_id,
        input=asked,
        priority=priority_of(headers),
        start_within_s=headers.x_fal_request_timeout,
        warnings=(*ignored, *left_out(headers)),
    )


@router.post("/{path:path}")
def submit(
    request: Request, owner: Owner, wanted: Annotated[Wanted, Depends(_wanted)], parts: PartsDep
) -> Response:
    """Queue a job."""
    terms = Terms(
        owner=owner,
        key_name=key_name(request),
        priority=wanted.priority,
        start_within_s=wanted.start_within_s,
    )
    job = accept(wanted.input, wanted.model_id, terms, parts, wanted.warnings).job
    # A job that a worker took at once has nothing before it either.
    position = placed(job, parts.store)[1] or 1
    answer = FalSubmitted(
        **_urls(job, request, parts), queue_position=position - 1, warnings=list(wanted.warnings)
    )
    return _about(job, answer.model_dump())


@router.get("/{app}/requests/{request_id}/status")
def get_status(
    job: Annotated[Job, Depends(_job)], request: Request, parts: PartsDep, *, logs: bool = False
) -> Response:
    """Where a job is: 202 until it has ended."""
    told = _status(job, request, parts, logs=logs)
    return _about(job, told, 200 if told["status"] == "COMPLETED" else 202)


@router.get("/{app}/requests/{request_id}/status/stream")
async def stream_status(
    job: Annotated[Job, Depends(_job)], request: Request, parts: PartsDep, *, logs: bool = False
) -> Response:
    """Server-sent events: the status at each change, and only the log lines that are new."""
    headers = HEADERS | {"X-Fal-Request-Id": job.id}
    stream = _events(job, request, parts, logs=logs)
    return StreamingResponse(stream, media_type=EVENT_STREAM, headers=headers)


@router.get("/{app}/requests/{request_id}")
def get_result(job: Annotated[Job, Depends(_job)], request: Request, parts: PartsDep) -> Response:
    """What a job made, or why it made nothing."""
    base = base_url(request, parts)
    if not job.ended:
        return _about(job, _flat("Request is still in progress.", "bad_request"), 400)
    if job.state is State.CANCELLED:
        return _cancelled(job)
    if job.outcome is None:
        return _failed(job, base)
    check_files(job, parts)
    return _about(job, _output(job.outcome, base).model_dump())


@router.put("/{app}/requests/{request_id}/cancel")
def cancel(job: Annotated[Job, Depends(_job)], parts: PartsDep) -> Response:
    """Withdraw a job; a running one stops at its next step."""
    if job.ended:
        return _about(job, {"status": "ALREADY_COMPLETED"}, 400)
    withdraw(job, parts, running=True)
    return _about(job, {"status": "CANCELLATION_REQUESTED"}, 202)


@router.api_route("/{path:path}", methods=["GET", "PUT", "DELETE", "PATCH"])
def nothing(path: str) -> Response:
    """Nothing else is below /fal-ai."""
    raise UnknownRequestError(f"There is nothing at /fal-ai/{path}.")


async def _events(job: Job, request: Request, parts: Parts, *, logs: bool) -> AsyncIterator[str]:
    told: dict[str, Any] = {}
    lines: set[str] = set()
    quiet = 0
    while not parts.bell.closed:
        seen = await run_in_threadpool(parts.store.get, job.id)
        if seen is None:
            return
        now = await run_in_threadpool(_status, seen, request, parts, logs=logs)
        fresh = now | _new_lines(now, lines)
        quiet = 0 if _differs(fresh, told) else quiet + 1
        if not quiet:
            told = now
            yield f"data: {json.dumps(fresh)}\n\n"
        elif quiet % QUIET_LOOKS == 0:
            yield ": waiting\n\n"
        if now["status"] == "COMPLETED":
            return
        await asyncio.sleep(LOOK_S)


def _new_lines(status: dict[str, Any], seen: set[str]) -> dict[str, Any]:
    """The log lines that were not told yet; they are noted as told."""
    if not status.get("logs"):
        return {}
    fresh = [line for line in status["logs"] if line["message"] not in seen]
    seen.update(line["message"] for line in fresh)
    return {"logs": fresh}


def _differs(fresh: dict[str, Any], told: dict[str, Any]) -> bool:
    parts = ("status", "queue_position")
    return bool(fresh.get("logs")) or any(fresh.get(part) != told.get(part) for part in parts)


def _status(job: Job, request: Request, parts: Parts, *, logs: bool) -> dict[str, Any]:
    seen, position = _seen(job, parts.store)
    facts: dict[str, Any] = {"status": "COMPLETED" if seen.ended else "IN_PROGRESS"}
    if position is not None:
        facts = {"status": "IN_QUEUE", "queue_position": position - 1}
    else:
        facts["logs"] = list(_logs(seen)) if logs else None
    if seen.ended:
        facts |= _end(seen)
    answer = FalStatus(**_urls(seen, request, parts), **facts)
    return answer.model_dump(exclude_unset=True)


def _seen(job: Job, store: JobStore) -> tuple[Job, int | None]:
    return (job, None) if job.ended else placed(job, store)


def _end(job: Job) -> dict[str, Any]:
    """How long the run took, and what was wrong with it."""
    facts: dict[str, Any] = {"metrics": {}}
    if job.started_at and job.finished_at:
        facts["metrics"]["inference_time"] = (job.finished_at - job.started_at).total_seconds()
    if job.state is State.CANCELLED:
        facts |= {"error": _reason(job), "error_type": _why_cancelled(job)}
    elif job.failure:
        facts |= {"error": job.failure.message, "error_type": _word(job.failure)}
    return facts


def _logs(job: Job) -> Iterator[Log]:
    """What is to be told so far: warnings, where a running job is, why a failed one failed."""
    began = job.started_at or job.created_at
    for warning in job.warnings:
        message = f"{warning.field}: asked {warning.asked}, used {warning.used}. {warning.why}"
        yield _line("WARNING", message, began)
    if job.progress and not job.ended:
        here = job.progress
        message = f"{here.stage}: {here.step} of {here.steps} ({here.fraction:.0%} of all)"
        yield _line("INFO", message, datetime.now(UTC))
    if job.failure:
        yield _line("ERROR", job.failure.message, job.finished_at or job.created_at)


def _line(level: Level, message: str, moment: datetime) -> Log:
    timestamp = moment.isoformat(timespec="microseconds")
    return Log(message=message, level=level, source="rotoscope", timestamp=timestamp)


def _output(made: Outcome, base: str) -> FalOutput:
    media = made.media
    video = FalVideo(
        url=f"{base}/files/{made.file}",
        content_type=media.content_type,
        file_name=made.file.rpartition("/")[2],
        file_size=media.size,
        width=media.width,
        height=media.height,
        fps=float(Fraction(media.fps)),
        duration=media.duration_s,
        num_frames=media.frames,
    )
    return FalOutput(video=video, seed=made.manifest.seed, prompt=made.manifest.prompt)


def _cancelled(job: Job) -> Response:
    """By the client, or because no worker started it in the time that the client gave."""
    content = _flat(_reason(job), _why_cancelled(job))
    if job.failure:
        return _about(job, content, 504, {"X-Fal-Request-Timeout-Type": "user"})
    return _about(job, content, CANCELLED)


def _why_cancelled(job: Job) -> str:
    return "request_timeout" if job.failure else "client_cancelled"


def _failed(job: Job, base: str) -> Response:
    """A failure as fal's: 422 where a field is at fault, else 500."""
    failure = job.failure or Failure(code="internal_error", message="It failed.", retryable=True)
    entry = FalFieldError(
        loc=["body", *(failure.field.split(".") if failure.field else [])],
        msg=failure.message,
        type=_word(failure),
        url=f"{base}/docs",
    )
    content = FalError(detail=[entry]).model_dump(exclude_unset=True)
    headers = {"X-Fal-Retryable": str(failure.retryable).lower()}
    return _about(job, content, 422 if failure.field else 500, headers)


def _refusal(error: RequestError, request: Request) -> Response:
    headers = {"X-Fal-Retryable": str(error.retry_after_s is not None).lower()}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Key"
    url = f"{base_url(request, request.app.state.parts)}/docs"
    content = FalError(detail=str(error), error_type=_error_type(error))
    if error.detail is not None:
        content = FalError(
            detail=[FalFieldError(**_told(entry), url=url) for entry in error.detail]
        )
    # An input may be anything, such as NaN: what JSON cannot hold becomes null or text.
    text = content.model_dump_json(exclude_unset=True, fallback=str)
    return Response(text, error.status, headers, media_type="application/json")


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("loc", "msg", "type", "input") if name in entry}


def _error_type(error: RequestError) -> str:
    return "bad_request" if error.status < 500 else "runner_scheduling_failure"  # noqa: PLR2004


def _flat(detail: str, error_type: str) -> dict[str, Any]:
    return FalError(detail=detail, error_type=error_type).model_dump()


def _about(
    job: Job, content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse(content, status, {"X-Fal-Request-Id": job.id} | (headers or {}))


def _urls(job: Job, request: Request, parts: Parts) -> dict[str, str]:
    url = f"{base_url(request, parts)}/{APPS_OF_MODEL[job.model_id]}/requests/{job.id}"
    return {
        "request_id": job.id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
    }


def _word(failure: Failure) -> str:
    return _FAILURE_WORDS.get(failure.code, failure.code)


def _reason(job: Job) -> str:
    return job.failure.message if job.failure else "The request was cancelled."
