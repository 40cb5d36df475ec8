"""What is told about webhooks: the body that is posted, and the ledger of one request's."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rotoscope.schema.output import Progress, Result

EventWord = Literal[
    "request.started",
    "request.progress",
    "request.succeeded",
    "request.failed",
    "request.cancelled",
]


class WebhookBody(Result):
    """What a webhook's receiver is sent: the answer of /result, and what it is about."""

    event: EventWord
    delivery_id: str = Field(description="The same at every attempt, as in `webhook-id`.")
    progress: Progress | None = None


class DeliveryEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    delivery_id: str
    event: EventWord
    url: str
    state: Literal["waiting", "sending", "delivered", "failed"]
    attempts: int = Field(description="Times that it was sent or tried.")
    created_at: datetime
    next_attempt_at: datetime | None = None
    ended_at: datetime | None = None
    last_status: int | None = Field(None, description="What the receiver answered last.")
    last_error: str | None = Field(None, description="Why the last attempt did not count.")


class Ledger(BaseModel):
    """Every webhook of a request, the oldest first."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    deliveries: list[DeliveryEntry]
