"""GET /healthz: the process answers. GET /readyz: it can also do its work."""

from fastapi import APIRouter

from rotoscope import telemetry
from rotoscope.errors import UnavailableError
from rotoscope.web.errors import describe
from rotoscope.web.parts import PartsDep

log = telemetry.logger()

RETRY_AFTER_S = 5

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", responses=describe(UnavailableError))
def readyz(parts: PartsDep) -> dict[str, str]:
    """Whether jobs can be queued and files be kept right now."""
    try:
        parts.store.ping()
        parts.storage.check()
    except Exception as error:
        log.exception("not_ready")
        raise UnavailableError(
            "The job table or the storage cannot be used; the server's log says why.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    if parts.bell.closed:
        raise UnavailableError("The server is ending.", retry_after_s=RETRY_AFTER_S)
    return {"status": "ready"}
