"""Pools: jobs and workers that are kept apart from others, by the setting `pools`."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from rotoscope import telemetry
from rotoscope.errors import ForbiddenError, InvalidInputError, UnauthorizedError
from rotoscope.jobs.store import DEFAULT_POOL
from rotoscope.schema.worker import PoolFacts, Pools
from rotoscope.settings import POOL_NAME
from rotoscope.web.answers import as_json
from rotoscope.web.auth import check_worker, scheme
from rotoscope.web.errors import describe
from rotoscope.web.parts import Parts, PartsDep

log = telemetry.logger()

KEY = "key:"

router = APIRouter(
    prefix="/v1/worker/pools",
    tags=["worker"],
    dependencies=[Depends(check_worker), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, InvalidInputError),
)
Name = Annotated[str, Path(pattern=POOL_NAME)]


def pool_of(rules: Sequence[str], model_id: str, key_name: str) -> str:
    """Where a job of this model and this key waits: what the first rule that fits says."""
    for rule in rules:
        what, _, pool = rule.rpartition("=")
        if what == model_id or (key_name and what == KEY + key_name):
            return pool
    return DEFAULT_POOL


def check_pool(rules: Sequence[str], pool: str, key_name: str) -> None:
    """Refuse a worker whose key is tied to another pool than it asks jobs of.

    Raises:
        ForbiddenError: It is.
    """
    tied = {pool for what, _, pool in (rule.rpartition("=") for rule in rules)
            if key_name and what == KEY + key_name}  # fmt: skip
    if tied and pool not in tied:
        raise ForbiddenError(
            f"This worker's key gives work in pool {', '.join(sorted(tied))}, not in {pool}; set "
            "ROTOSCOPE_POOL, or the server's setting pools."
        )


@router.get("", response_model=Pools)
def list_pools(parts: PartsDep) -> Response:
    """Every pool that ever had a job or a pause: what waits, what runs."""
    return _all(parts)


@router.post("/{pool}/pause", response_model=Pools)
def pause(pool: Name, parts: PartsDep) -> Response:
    """Hand out no more jobs of a pool; submits are taken, and running jobs go on."""
    parts.store.pause(pool)
    log.info("pool_paused", pool=pool)
    return _all(parts)


@router.post("/{pool}/resume", response_model=Pools)
def resume(pool: Name, parts: PartsDep) -> Response:
    """Hand out a pool's jobs again."""
    parts.store.resume(pool)
    parts.bell.ring()
    log.info("pool_resumed", pool=pool)
    return _all(parts)


def _all(parts: Parts) -> Response:
    pools = [
        PoolFacts(
            name=pool.name,
            paused=pool.paused,
            queued=pool.queued,
            running=pool.running,
            oldest_s=pool.oldest_s,
        )
        for pool in parts.store.pools()
    ]
    return as_json(Pools(pools=pools))
