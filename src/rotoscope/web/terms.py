"""On what terms a submit asks: who it is, and what its headers say beside the body."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Request

from rotoscope.jobs.store import Idempotency, Webhook
from rotoscope.web.auth import Owner, key_name

WEEK_S = 7 * 24 * 3600
PRINTABLE = r"^[\x21-\x7e]+$"

Priority = Literal["normal", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    owner: str
    key_name: str = ""
    """As its operator named it; none without a key."""
    priority: Priority | None = None
    start_within_s: float | None = None
    idempotency: Idempotency | None = None
    webhook: Webhook | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The headers of a submit."""

    key_name: str
    idempotency_key: str | None
    deadline_s: float | None
    priority: Priority | None

    def terms(self, owner: str, body: bytes, model_id: str, webhook: Webhook | None) -> Terms:
        """With the body, which an idempotency key is bound to; it is valid JSON."""
        key = self.idempotency_key
        return Terms(
            owner=owner,
            key_name=self.key_name,
            priority=self.priority,
            start_within_s=self.deadline_s,
            idempotency=Idempotency(key, fingerprint(model_id, body)) if key else None,
            webhook=webhook,
        )


def asked_headers(
    request: Request,
    owner: Owner,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=PRINTABLE,
            description="The same key with the same body within 24 hours finds the same request; "
            "with another body it is a 409.",
        ),
    ] = None,
    x_deadline_seconds: Annotated[
        float | None,
        Header(
            gt=0,
            le=WEEK_S,
            allow_inf_nan=False,
            description="The request is cancelled if no worker has started it by then.",
        ),
    ] = None,
    x_priority: Annotated[
        Priority | None,
        Header(description="low: it waits until no request of normal priority does."),
    ] = None,
) -> Asked:
    return Asked(key_name(request), idempotency_key, x_deadline_seconds, x_priority)


def fingerprint(model_id: str, body: bytes) -> str:
    """The same for the same JSON, however it is spaced and ordered."""
    asked: Any = json.loads(body)
    canonical = json.dumps([model_id, asked], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


AskedHeaders = Annotated[Asked, Depends(asked_headers)]
