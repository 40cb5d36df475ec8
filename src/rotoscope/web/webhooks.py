"""The ledger of a request's webhooks, sending one again, and the keys that they are signed with."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from rotoscope import telemetry
from rotoscope.errors import (
    ConflictError,
    ForbiddenError,
    UnauthorizedError,
    UnknownRequestError,
)
from rotoscope.jobs.job import Job
from rotoscope.jobs.store import Delivery
from rotoscope.schema.webhooks import DeliveryEntry, Ledger
from rotoscope.web.answers import as_json
from rotoscope.web.auth import client_owner, scheme
from rotoscope.web.errors import describe
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.routes import own_job

log = telemetry.logger()

# A receiver that keeps the keys for so long has missed nothing: both sign for a week.
JWKS_HEADERS = {"Cache-Control": "public, max-age=3600"}

router = APIRouter(tags=["webhooks"])
of_client = APIRouter(
    prefix="/v1/requests/{request_id}/webhooks",
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, UnknownRequestError),
)
OwnJob = Annotated[Job, Depends(own_job)]


@of_client.get("", response_model=Ledger)
def list_webhooks(job: OwnJob, parts: PartsDep) -> Response:
    """Every webhook of a request, and what its receiver answered."""
    entries = [_entry(each) for each in parts.store.deliveries(job.id)]
    return as_json(Ledger(request_id=job.id, deliveries=entries))


@of_client.post(
    "/{delivery_id}/redeliver",
    status_code=202,
    response_model=DeliveryEntry,
    responses=describe(ConflictError),
)
def redeliver(delivery_id: str, job: OwnJob, parts: PartsDep) -> Response:
    """Send a webhook again, whatever came of it; it keeps its id."""
    _find(delivery_id, job, parts)
    if not parts.store.redeliver(delivery_id):
        raise ConflictError("This webhook is being sent right now; look at its ledger.")
    log.info("webhook_redelivered", request_id=job.id, delivery_id=delivery_id)
    return as_json(_entry(_find(delivery_id, job, parts)), status=202)


@router.get("/.well-known/jwks.json")
def jwks(parts: PartsDep, response: Response) -> dict[str, list[dict[str, str]]]:
    """The public keys that webhooks are signed with, as a JSON Web Key Set (RFC 8037)."""
    response.headers.update(JWKS_HEADERS)
    return parts.signer.jwks()


def _find(delivery_id: str, job: Job, parts: Parts) -> Delivery:
    for each in parts.store.deliveries(job.id):
        if each.id == delivery_id:
            return each
    raise UnknownRequestError("This request has no such webhook.")


def _entry(delivery: Delivery) -> DeliveryEntry:
    fields = {
        "delivery_id": delivery.id,
        "event": delivery.event,
        "url": delivery.url,
        "state": delivery.state,
        "attempts": delivery.attempt,
        "created_at": delivery.created_at,
        "next_attempt_at": delivery.next_at if delivery.state == "waiting" else None,
        "ended_at": delivery.done_at,
        "last_status": delivery.last_status,
        "last_error": delivery.last_note or None,
    }
    return DeliveryEntry(**{name: value for name, value in fields.items() if value is not None})


router.include_router(of_client)
