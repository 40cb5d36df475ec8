"""Sends webhooks in the background: takes what is due from the outbox, posts it, notes the answer.

Every server does, each on what it has leased: a server that dies in the middle is followed by
another once its lease is over. So a webhook arrives at least once, under the same id each time.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi.concurrency import run_in_threadpool

from rotoscope import telemetry
from rotoscope.jobs.store import Delivery
from rotoscope.media.fetch import UndeliveredError, post
from rotoscope.schema.webhooks import WebhookBody
from rotoscope.web import answers
from rotoscope.web.asked_webhook import policy_of
from rotoscope.web.parts import Parts

log = telemetry.logger()

AT_ONCE = 100
"""A receiver that hangs takes one of these for `webhook_timeout_s`."""
LOOK_EVERY_S = 1.0
# Beyond the time a receiver has: for the database, before and after.
LEASE_MARGIN_S = 30.0
MINUTE, HOUR = 60.0, 3600.0
PAUSES_S = (
    *(5.0, 30.0, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR),
    *(5 * HOUR, 5 * HOUR, 6 * HOUR),
)
"""Between one attempt and the next: twelve attempts in about a day."""
SPREAD = 0.2
"""A pause is longer or shorter by up to this share: many that failed at once come back apart."""


PASSING = frozenset({"request.started", "request.progress"})
"""Events that are not tried again, nor sent once the request has ended."""


@asynccontextmanager
async def delivering(parts: Parts) -> AsyncIterator[None]:
    """Send in the background until the block ends; what is under way then is sent again later."""
    task = asyncio.create_task(_send_what_is_due(parts))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        parts.signer.close()


def pause_after(attempt: int) -> float | None:
    """Seconds until the attempt after this one, counted from 1; None: there is none."""
    if attempt > len(PAUSES_S):
        return None
    return PAUSES_S[attempt - 1] * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311 - no secret


async def deliver(delivery: Delivery, parts: Parts) -> None:
    """Make one attempt and note what came of it."""
    status, problem = await _post(delivery, parts)
    done = status is not None and not problem
    again_s = None if done else _again(delivery, status)
    outcome = "delivered" if done else "failed" if again_s is None else "retrying"
    await run_in_threadpool(
        parts.store.settle_delivery,
        delivery.id,
        delivery.token,
        done=done,
        next_in_s=again_s,
        status=status,
        note=problem,
    )
    parts.metrics.webhook_tried(outcome)
    log.info(
        "webhook_tried",
        outcome=outcome,
        request_id=delivery.job_id,
        delivery_id=delivery.id,
        attempt=delivery.attempt,
        status=status,
    )


def _again(delivery: Delivery, status: int | None) -> float | None:
    """When to try once more: what is only news in passing is not worth it, nor who is gone."""
    if status == HTTPStatus.GONE or delivery.event in PASSING:
        return None
    return pause_after(delivery.attempt)


def body_of(delivery: Delivery, parts: Parts) -> bytes:
    """What the receiver gets, of the job as it is now.

    Raises:
        UndeliveredError: There is nothing to tell any more.
    """
    job = parts.store.get(delivery.job_id)
    if job is None:
        raise UndeliveredError("The request was deleted.")
    if job.ended and delivery.event in PASSING:
        raise UndeliveredError("The request ended before this was sent.")
    told = answers.result(job, delivery.base_url, include_cost=False)
    fields = {name: getattr(told, name) for name in told.model_fields_set}
    if job.progress is not None and not job.ended:
        fields["progress"] = job.progress
    body = WebhookBody(event=delivery.event, delivery_id=delivery.id, **fields)
    return body.model_dump_json(exclude_unset=True).encode()


async def _post(delivery: Delivery, parts: Parts) -> tuple[int | None, str]:
    """The status that was answered, if any, and what was wrong, if anything."""
    try:
        body = await run_in_threadpool(body_of, delivery, parts)
        signed = await run_in_threadpool(parts.signer.headers, delivery.id, body)
        headers = [(name.encode(), value.encode()) for name, value in signed.items()]
        headers.append((b"content-type", b"application/json"))
        status = await post(delivery.url, body, headers, policy_of(parts.settings))
    except UndeliveredError as error:
        return None, str(error)
    except Exception:
        log.exception("webhook_broke", request_id=delivery.job_id, delivery_id=delivery.id)
        return None, "The server could not send it; its log says why."
    accepted = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    return status, "" if accepted else f"Its receiver answered {status}."


async def _send_what_is_due(parts: Parts) -> None:
    room = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        while True:
            await room.acquire()
            delivery = await _take(parts)
            if delivery is None:
                room.release()
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                group.create_task(_deliver_in(room, delivery, parts))


async def _take(parts: Parts) -> Delivery | None:
    lease_s = parts.settings.webhook_timeout_s + LEASE_MARGIN_S
    try:
        return await run_in_threadpool(parts.store.take_delivery, lease_s)
    except Exception:
        # Whatever it was, the next look may work; without looks no webhook is ever sent.
        log.exception("outbox_unreadable")
        return None


async def _deliver_in(room: asyncio.Semaphore, delivery: Delivery, parts: Parts) -> None:
    try:
        await deliver(delivery, parts)
    except Exception:
        # The outcome could not be written down: once the lease is over it is sent again.
        log.exception("webhook_unsettled", request_id=delivery.job_id, delivery_id=delivery.id)
    finally:
        room.release()
