"""/fal/proxy: how a client that only knows fal's own hosts is pointed at this server.

@fal-ai/client sends every request to its `proxyUrl`, and where it was meant for in a header. The
request goes on here as if it had been sent to the path of that address, with its own key.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rotoscope.schema.fal import FalError

PATH = "/fal/proxy"
TARGET = "x-fal-target-url"

HOSTS = {
    "queue.fal.run": ("/fal-ai/", "/fal-ai/"),
    "rest.fal.ai": ("/storage/", "/fal/storage/"),
}
"""Of fal's hosts those that this server stands in for: where their paths start, there and here."""


class FalProxy:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        target = Headers(scope=scope).get(TARGET, "")
        there = _address(target)
        if there is None:
            await _refusal(target)(scope, receive, send)
            return
        path, query = there
        own = {"path": path, "raw_path": path.encode(), "query_string": query.encode()}
        await self._app({**scope, **own}, receive, send)


def _address(target: str) -> tuple[str, str] | None:
    """Path and query of an address of fal's; None where this server has nothing like it."""
    try:
        url = urlsplit(target)
        known = HOSTS.get(url.hostname or "")
    except ValueError:
        return None
    there, here = known or ("", "")
    if not there or not target.isascii() or not url.path.startswith(there) or "%" in url.path:
        return None
    return here + url.path.removeprefix(there), url.query


def _refusal(target: str) -> Response:
    known = " and ".join(f"https://{host}{path}" for host, (path, _) in HOSTS.items())
    detail = f"The header {TARGET} must name an address below {known}, not {target[:200]!r}."
    content = FalError(detail=detail, error_type="bad_request").model_dump_json()
    return Response(content, 400, media_type="application/json")
