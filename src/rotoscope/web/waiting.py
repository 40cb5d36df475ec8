"""`Prefer: wait=SECONDS` (RFC 7240): hold a submit's answer until its job has ended."""

import asyncio
import re

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from rotoscope.jobs.job import Job
from rotoscope.web.parts import Parts

MOST_S = 60
LOOK_S = 0.25
"""Seconds between two looks at the job."""

_WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*', re.IGNORECASE)


def asked_wait(request: Request) -> int | None:
    """Seconds to wait, at most `MOST_S`; None without that preference, or with one of no sense."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        if found := _WAIT.fullmatch(preference.partition(";")[0]):
            return min(int(found[1]), MOST_S)
    return None


async def wait_for_end(job: Job, seconds: float, request: Request, parts: Parts) -> Job:
    """The job once it has ended, or as it is when the time is over or nobody listens any more."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while not job.ended and clock() < end and not parts.bell.closed:
        if await request.is_disconnected():
            break
        await asyncio.sleep(min(LOOK_S, max(0.0, end - clock())))
        found: Job | None = await run_in_threadpool(parts.store.get, job.id)
        job = found or job
    return job
