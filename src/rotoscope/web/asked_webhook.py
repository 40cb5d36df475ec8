"""Where a submit wants to be told: `?webhook=URL`, or the header `X-Webhook-URL`."""

from typing import Annotated, Literal

from fastapi import Depends, Header, Query, Request

from rotoscope.jobs.store import Webhook
from rotoscope.media.fetch import FetchPolicy, refusal
from rotoscope.schema.output import FieldError
from rotoscope.settings import Settings
from rotoscope.web.errors import invalid
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.urls import base_url

Events = Literal["end", "all"]
MOST_CHARACTERS = 2048
QUERY, HEADER = ["query", "webhook"], ["header", "X-Webhook-URL"]


def asked_webhook(
    request: Request,
    parts: PartsDep,
    webhook: Annotated[
        str | None, Query(description="A URL that is sent the result when the run has ended.")
    ] = None,
    webhook_events: Annotated[
        Events | None,
        Query(description="end, the default: how it ended; all: its start and progress too."),
    ] = None,
    x_webhook_url: Annotated[str | None, Header(description="In place of ?webhook=.")] = None,
) -> Webhook | None:
    """The webhook that the request asks for, if it does and it may be sent there."""
    if webhook is not None and x_webhook_url is not None and webhook != x_webhook_url:
        raise _wrong(
            QUERY, "It differs from the header X-Webhook-URL; send one of the two.", webhook
        )
    url = webhook if webhook is not None else x_webhook_url
    if url is None:
        if webhook_events is not None:
            raise _wrong(["query", "webhook_events"], "It needs a webhook too.", webhook_events)
        return None
    place = QUERY if webhook is not None else HEADER
    return checked_webhook(url, webhook_events or "end", request, parts, place)


def checked_webhook(
    url: str, events: Events, request: Request, parts: Parts, place: list[str]
) -> Webhook:
    """The webhook to this URL.

    Raises:
        InvalidInputError: It may not be sent there; `place` is where the request named it.
    """
    if len(url) > MOST_CHARACTERS:
        raise _wrong(place, f"It must have at most {MOST_CHARACTERS:,} characters.", url[:100])
    if url.startswith("data:"):
        raise _wrong(place, "It must be an https URL.", url[:100])
    if reason := refusal(url, policy_of(parts.settings)):
        raise _wrong(place, reason, url)
    return Webhook(url, events, base_url(request, parts))


def policy_of(settings: Settings) -> FetchPolicy:
    """Where webhooks may go."""
    return FetchPolicy(
        private_hosts=settings.webhook_private_hosts,
        ca_file=settings.fetch_ca_file,
        timeout_s=settings.webhook_timeout_s,
    )


def _wrong(place: list[str], problem: str, value: str) -> Exception:
    return invalid([FieldError(loc=[*place], msg=problem, type="webhook", input=value)])


AskedWebhook = Annotated[Webhook | None, Depends(asked_webhook)]
