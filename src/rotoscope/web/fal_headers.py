"""What a fal client can ask beside the body: by headers, and by two query parameters."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import Header, Query
from pydantic import BaseModel, Field

from rotoscope.schema.output import Adjustment, FieldError
from rotoscope.web.errors import invalid
from rotoscope.web.terms import WEEK_S

_KEPT = "What is kept, and how long, is the operator's choice."


class _Headers(BaseModel):
    """All but X-Fal-Runner-Hint, which is a hint and needs no answer."""

    x_fal_request_timeout: float | None = Field(None, gt=0, le=WEEK_S, allow_inf_nan=False)
    """Seconds in which a worker must have started the job."""
    x_fal_queue_priority: str | None = None
    x_fal_store_io: str | None = None
    x_fal_object_lifecycle_preference: str | None = None


class _Queries(BaseModel):
    fal_webhook: str | None = None
    fal_max_queue_length: str | None = None


Headers = Annotated[_Headers, Header()]
Queries = Annotated[_Queries, Query()]


def check_queries(asked: Queries) -> None:
    """Refuse what is not possible here.

    Raises:
        InvalidInputError: A parameter was given; it is named.
    """
    message = "This server cannot do that; leave it out, and ask for the status."
    refused = [name for name, value in asked if value is not None]
    if refused:
        raise invalid(
            FieldError(loc=["query", name], msg=message, type="feature_not_supported")
            for name in refused
        )


def priority_of(asked: Headers) -> Literal["low"] | None:
    """Low where a header asks for it."""
    return "low" if asked.x_fal_queue_priority == "low" else None


def left_out(asked: Headers) -> Iterator[Adjustment]:
    """What a header asks for and is not done."""
    if asked.x_fal_queue_priority not in (None, "normal", "low"):
        why = "A priority is normal or low."
        yield _adjusted("X-Fal-Queue-Priority", asked.x_fal_queue_priority, why)
    if asked.x_fal_store_io is not None:
        yield _adjusted("X-Fal-Store-IO", asked.x_fal_store_io, _KEPT)
    if asked.x_fal_object_lifecycle_preference is not None:
        preference = asked.x_fal_object_lifecycle_preference
        yield _adjusted("X-Fal-Object-Lifecycle-Preference", preference, _KEPT)


def _adjusted(header: str, value: str | None, why: str) -> Adjustment:
    return Adjustment(field=header, asked=value, used=None, why=why)
