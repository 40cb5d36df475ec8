"""A job as the Model API tells it; fields that do not apply are left out."""

from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel

from rotoscope.jobs.job import Job, State
from rotoscope.schema.output import (
    RESULT_WORD,
    STATUS_WORD,
    Adjustment,
    Cancelled,
    ControlFile,
    ControlVideo,
    Listed,
    Output,
    Progress,
    Result,
    Status,
    Submitted,
)

# What a run costs here: nothing.
COST_USD = 0.0


def as_json(answer: BaseModel, status: int = 200) -> Response:
    content = answer.model_dump_json(exclude_unset=True)
    return Response(content, status, media_type="application/json")


def submitted(job: Job, base: str, warnings: list[Adjustment]) -> Submitted:
    return Submitted(
        request_id=job.id,
        status_url=_url(base, job, "status"),
        result_url=_url(base, job, "result"),
        cancel_url=_url(base, job, "cancel"),
        **_present(warnings=warnings),
    )


def status(job: Job, base: str, position: int | None) -> Status:
    return Status(
        request_id=job.id,
        status=STATUS_WORD[job.state],
        status_url=_url(base, job, "status"),
        result_url=_url(base, job, "result"),
        **_present(
            queue_position=position,
            progress=progress(job, base),
            warnings=list(job.warnings),
            error=job.failure,
        ),
    )


def progress(job: Job, base: str) -> Progress | None:
    """How far a job is; its picture as a URL."""
    told = job.progress
    if told is None or told.preview is None:
        return told
    return told.model_copy(update={"preview": _file_url(base, told.preview)})


def result(job: Job, base: str, *, include_cost: bool) -> Result:
    return Result(
        request_id=job.id,
        status=RESULT_WORD[job.state],
        created_at=job.created_at,
        finished_at=job.finished_at,
        **_made(job, base),
        **_present(error=job.failure, warnings=list(job.warnings)),
        **({"cost": COST_USD} if include_cost else {}),
    )


def cancelled(job: Job) -> Cancelled:
    """The answer to a cancel, from the job as it is afterwards."""
    return Cancelled(request_id=job.id, status=STATUS_WORD[job.state], outcome=_outcome(job))


def listed(job: Job, base: str) -> Listed:
    return Listed(
        request_id=job.id,
        model_id=job.model_id,
        status=RESULT_WORD[job.state],
        status_url=_url(base, job, "status"),
        result_url=_url(base, job, "result"),
        created_at=job.created_at,
        **_present(
            progress=progress(job, base),
            error=job.failure,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=job.expires_at,
        ),
    )


def _outcome(job: Job) -> Literal["cancelled", "cancelling", "not_cancellable"]:
    if job.state is State.CANCELLED:
        return "cancelled"
    return "cancelling" if job.cancel_asked and not job.ended else "not_cancellable"


def _made(job: Job, base: str) -> dict[str, Any]:
    if job.outcome is None:
        return {}
    control = job.outcome.control
    return {
        "output": Output(video=_file_url(base, job.outcome.file)),
        "media": job.outcome.media,
        **_present(control=control and _control(base, control)),
        "metrics": job.outcome.metrics,
        "manifest": job.outcome.manifest,
    }


def _control(base: str, stored: ControlFile) -> ControlVideo:
    return ControlVideo(video=_file_url(base, stored.file), media=stored.media)


def _file_url(base: str, key: str) -> str:
    return f"{base}/files/{key}"


def _url(base: str, job: Job, verb: str) -> str:
    return f"{base}/v1/requests/{job.id}/{verb}"


def _present(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value != []}
