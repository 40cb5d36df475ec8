"""What an operator's machines ask.

GET /healthz    the process answers
GET /readyz     jobs that are sent now will be done
GET /metrics    counts, for Prometheus
"""

from collections.abc import Callable, Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from rotoscope import telemetry
from rotoscope.errors import ForbiddenError, UnauthorizedError, UnavailableError
from rotoscope.web.auth import check_worker
from rotoscope.web.errors import describe
from rotoscope.web.parts import Parts, PartsDep

log = telemetry.logger()

RETRY_AFTER_S = 5
ALIVE_S = 60.0
"""A worker that was not heard of for longer is not counted."""

JOB_TABLE, STORAGE = "the job table", "the storage"

router = APIRouter(tags=["health"])


class Ready(BaseModel):
    status: str
    workers: int = Field(description="Workers heard of in the last minute.")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers; a restart would not help it."""
    return {"status": "ok"}


@router.get("/readyz", responses=describe(UnavailableError))
def readyz(
    parts: PartsDep,
    workers: Annotated[
        int, Query(ge=0, le=10_000, description="Workers there must be; 0: jobs may wait for one.")
    ] = 1,
) -> Ready:
    """Whether jobs can be queued and done, and files be kept; 503 names what is missing."""
    missing = [name for name, works in _parts(parts) if not works]
    alive = 0 if JOB_TABLE in missing else len(parts.store.workers(ALIVE_S))
    if alive < workers:
        missing.append(f"a worker ({alive} of {workers} there)")
    if missing:
        raise UnavailableError(
            f"Missing: {', '.join(missing)}. The server's log says more.",
            retry_after_s=RETRY_AFTER_S,
        )
    return Ready(status="ready", workers=alive)


@router.get("/metrics", responses=describe(UnauthorizedError, ForbiddenError))
async def get_metrics(request: Request, parts: PartsDep) -> Response:
    """Queue, jobs, workers and webhooks for Prometheus; needs a worker's key."""
    if not parts.settings.metrics_open:
        await check_worker(request, parts)
    text = await run_in_threadpool(parts.metrics.text)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _works(name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except Exception:
        log.exception("not_ready", missing=name)
        return False
    return True


def _parts(parts: Parts) -> Iterator[tuple[str, bool]]:
    yield "a server that is not ending", not parts.bell.draining
    yield JOB_TABLE, _works(JOB_TABLE, parts.store.ping)
    yield STORAGE, _works(STORAGE, parts.storage.check)
