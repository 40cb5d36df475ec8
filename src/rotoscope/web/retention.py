"""What is kept ends: ended requests after `retention_days`, uploads after `upload_hours`.

Files go first and the row last: whatever a crash leaves is found again by its row, and what has no
row by listing. Any number of servers may sweep at the same time: the table hands each expired job
to one of them, and an upload or a stray file that one removes, another finds removed.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

from fastapi.concurrency import run_in_threadpool

from rotoscope import telemetry
from rotoscope.errors import UnknownRequestError
from rotoscope.jobs.job import TRANSITIONS, Job
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Outcome
from rotoscope.storage import upload_id
from rotoscope.web.parts import Parts

log = telemetry.logger()

EXPIRED_EVERY_S = 3.0
UPLOADS_EVERY_S = 600.0
ORPHANS_EVERY_S = 3600.0
AT_ONCE = 50
ASKED_AT_ONCE = 500
FEW = 10

# A submit that looked at an upload in its last moment has its job in the table by then.
GRACE = timedelta(minutes=5)
# A file without a row is no orphan before: its row may be on its way.
ORPHAN_AGE = timedelta(hours=1)

Sweep = Callable[[Parts, datetime], None]


@asynccontextmanager
async def retaining(parts: Parts) -> AsyncIterator[None]:
    """Sweep in the background until the block ends."""
    tasks = [asyncio.create_task(_every(seconds, sweep, parts)) for sweep, seconds in _SWEEPS]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def drop_everything(job: Job, parts: Parts) -> bool:
    """Forget an ended job with its files; False, and nothing is removed, while it has not ended."""
    if not ended(job):
        return False
    parts.storage.drop_outputs(job.id)
    gone = parts.store.forget(job.id)
    if gone:
        log.info("request_forgotten", request_id=job.id)
    return gone


def sweep_expired(parts: Parts, _: datetime) -> None:
    """Forget the jobs whose time is over, by the database's clock."""
    while jobs := parts.store.take_expired(AT_ONCE):
        for job in jobs:
            if parts.bell.closed:
                return
            drop_everything(job, parts)


def sweep_orphans(parts: Parts, now: datetime) -> None:
    """Remove old files without a row; but not where most have none: that is the wrong table."""
    old = parts.storage.jobs(older_than=now - ORPHAN_AGE)
    known, orphans = 0, set[str]()
    while (ids := list(islice(old, ASKED_AT_ONCE))) and not parts.bell.closed:
        found = parts.store.job_exists(ids)
        known += len(found)
        orphans |= set(ids) - found
    if len(orphans) > max(known, FEW):
        log.error("orphans_kept", orphans=len(orphans), known=known)
        return
    for job_id in orphans:
        parts.storage.drop_outputs(job_id)
        log.warning("orphan_removed", request_id=job_id)


def sweep_uploads(parts: Parts, now: datetime) -> None:
    """Remove the uploads whose time is over, but for those that a queued or running job names."""
    lifetime = timedelta(hours=parts.settings.upload_hours)
    for upload in parts.storage.uploads(older_than=now - lifetime):
        if parts.bell.closed:
            return
        if upload.expired(now - GRACE) and not held(upload.id, parts, now):
            parts.storage.delete_upload(upload.id)
            log.info("upload_expired", upload_id=upload.id)


def held(upload_id: str, parts: Parts, now: datetime) -> bool:
    """Whether a queued or running job names the upload, or one that is about to be queued."""
    for job_id, noted in parts.storage.holders(upload_id):
        job = parts.store.get(job_id)
        if not ended(job) if job else noted > now - ORPHAN_AGE:
            return True
    return False


def hold_uploads(asked: VideoToVideoInput, job_id: str, parts: Parts) -> None:
    """Keep the uploads that an input names until its job ends; called before it is queued."""
    uris = (asked.video_url, asked.image_url or "", *(lora.path for lora in asked.loras))
    for found in {upload_id(uri) for uri in uris} - {None}:
        parts.storage.hold_upload(str(found), job_id)


def check_files(job: Job, parts: Parts) -> None:
    """Raise UnknownRequestError where a result's file is gone: no answer has a dead link."""
    keys = output_keys(job.outcome) if job.outcome else []
    if not all(parts.storage.output(key) for key in keys):
        raise UnknownRequestError("The files of this request were removed, or it has expired.")


def output_keys(outcome: Outcome) -> list[str]:
    return [outcome.file, *([outcome.control.file] if outcome.control else [])]


def ended(job: Job) -> bool:
    return not TRANSITIONS[job.state]


async def _every(seconds: float, sweep: Sweep, parts: Parts) -> None:
    # Servers that were started together sweep at different times.
    await asyncio.sleep(seconds * random.random())  # noqa: S311 - no secret
    while True:
        try:
            await run_in_threadpool(sweep, parts, datetime.now(UTC))
        except Exception:
            # Whatever it was, the next round may work.
            log.exception("sweep_failed", sweep=sweep.__name__)
        await asyncio.sleep(seconds)


_SWEEPS: tuple[tuple[Sweep, float], ...] = (
    (sweep_expired, EXPIRED_EVERY_S),
    (sweep_uploads, UPLOADS_EVERY_S),
    (sweep_orphans, ORPHANS_EVERY_S),
)
