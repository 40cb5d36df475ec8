"""What the routes work with, handed to create_app and found again on each request."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from rotoscope.jobs.store import JobStore
from rotoscope.keys import KeyStore
from rotoscope.media.fetch import FetchPolicy
from rotoscope.settings import Settings
from rotoscope.storage import Storage
from rotoscope.web.bell import Bell
from rotoscope.web.metrics import Metrics
from rotoscope.web.presence import Presences
from rotoscope.web.signing import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    store: JobStore
    storage: Storage
    keys: KeyStore
    settings: Settings
    bell: Bell
    policy: FetchPolicy
    proxies: tuple[IPv4Network | IPv6Network, ...]
    probes: CapacityLimiter
    """How many sources are looked at for plans at the same time."""
    metrics: Metrics
    signer: Signer
    worker_key: str | None
    """Accepted beside the keys in the key store."""
    presences: Presences = field(default_factory=Presences)


# FastAPI runs plain functions in a thread; a look-up is not worth one.
async def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(parts_of)]
