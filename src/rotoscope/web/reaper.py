"""Housekeeping while the server runs: jobs whose worker was lost, or that did not start in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi.concurrency import run_in_threadpool

from rotoscope import telemetry
from rotoscope.errors import DeadlineExceededError
from rotoscope.jobs.job import Job, State
from rotoscope.web.parts import Parts

log = telemetry.logger()

EVERY_S = 3.0


@asynccontextmanager
async def reaping(parts: Parts, every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Keep house in the background until the block ends."""
    task = asyncio.create_task(_keep_house(parts, every_s))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def reap(parts: Parts) -> None:
    """Do it once."""
    for job in parts.store.reap():
        event = "job_late" if _is_late(job) else "job_lost"
        log.warning(event, request_id=job.id, attempt=job.attempt, state=job.state)
        if job.state is State.IN_QUEUE:
            parts.bell.ring()
        else:
            parts.storage.drop_outputs(job.id)


def _is_late(job: Job) -> bool:
    """It was cancelled because no worker had claimed it in time."""
    return job.failure is not None and job.failure.code == DeadlineExceededError.code


async def _keep_house(parts: Parts, every_s: float) -> None:
    while True:
        try:
            await run_in_threadpool(reap, parts)
        except Exception:
            # Whatever it was, the next round may work; without rounds lost jobs stay lost.
            log.exception("reap_failed")
        await asyncio.sleep(every_s)
