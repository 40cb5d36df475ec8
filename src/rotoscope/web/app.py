"""The application: the parts, the routes, what stands around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI

from rotoscope import __version__
from rotoscope.jobs.store import JobStore
from rotoscope.keys import KeyStore
from rotoscope.media.fetch import FetchPolicy
from rotoscope.settings import Settings
from rotoscope.storage import Storage
from rotoscope.web import (
    catalogue,
    docs,
    errors,
    events,
    fal,
    fal_uploads,
    files,
    health,
    listing,
    plan,
    playground,
    pools,
    routes,
    webhooks,
    worker,
)
from rotoscope.web.bell import Bell
from rotoscope.web.fal_proxy import FalProxy
from rotoscope.web.metrics import Metrics
from rotoscope.web.observed import observed
from rotoscope.web.parts import Parts
from rotoscope.web.reaper import reaping
from rotoscope.web.retention import retaining
from rotoscope.web.sender import delivering
from rotoscope.web.signing import open_signer
from rotoscope.web.tracing import Tracing
from rotoscope.web.urls import parse_proxies


def create_app(
    store: JobStore,
    storage: Storage,
    keys: KeyStore,
    settings: Settings,
    *,
    worker_key: str | None = None,
) -> FastAPI:
    """The web process without its socket; `worker_key` is accepted beside the stored keys."""
    metrics = Metrics()
    metrics.watch(store)
    parts = Parts(
        store=observed(store, metrics),
        storage=storage,
        keys=keys,
        settings=settings,
        bell=Bell(),
        policy=FetchPolicy(
            private_hosts=settings.fetch_private_hosts,
            ca_file=settings.fetch_ca_file,
            timeout_s=settings.fetch_timeout_s,
        ),
        proxies=parse_proxies(settings.trusted_proxies),
        probes=CapacityLimiter(plan.AT_ONCE),
        metrics=metrics,
        signer=open_signer(settings),
        worker_key=worker_key,
    )
    app = FastAPI(
        title="Rotoscope",
        version=__version__,
        summary="Video to video with LTX-2 and LoRAs, self-hosted.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.add_middleware(FalProxy)
    app.add_middleware(Tracing, answered=metrics.http_answered)
    errors.install(app)
    for part in _ROUTERS:
        app.include_router(part.router)
    return app


# The plan's path is one that the submit's would take for a model's id.
_ROUTERS = (
    plan,
    routes,
    listing,
    events,
    catalogue,
    files,
    worker,
    pools,
    webhooks,
    health,
    fal,
    fal_uploads,
    docs,
    playground,
)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with reaping(app.state.parts), retaining(app.state.parts), delivering(app.state.parts):
        yield
