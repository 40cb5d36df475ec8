"""One id per HTTP request: in its answer's X-Request-Id header and in every log line about it.

It stands around everything else, so it is also what answers for errors nobody foresaw, what counts
requests and their seconds, and what names the job of the path in every log line.
"""

import re
import time
from collections.abc import Callable

import structlog
import uuid_utils
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rotoscope import telemetry
from rotoscope.web.errors import INTERNAL_ERROR_CODE, error_response

log = telemetry.logger()

# Method, the route's template, status, seconds.
Answered = Callable[[str, str, int, float], None]
UNKNOWN_ROUTE = "none"
# What is counted for a request whose client left before it was answered.
CLIENT_GONE = 499
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_JOB = re.compile(r"/(?:requests|jobs)/([A-Za-z0-9_-]{1,128})(?:/|$)")


class Tracing:
    """The outermost layer; `answered` is told of each request when its answer is sent."""

    def __init__(self, app: ASGIApp, answered: Answered = lambda *_: None) -> None:
        self._app = app
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = str(uuid_utils.uuid7())
        answer = _Answer(send, trace_id)
        began = time.monotonic()
        try:
            await self._trace(scope, receive, answer, trace_id)
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
            self._answered(_method(scope), route, answer.status, time.monotonic() - began)

    async def _trace(
        self, scope: Scope, receive: Receive, answer: "_Answer", trace_id: str
    ) -> None:
        with structlog.contextvars.bound_contextvars(http_request_id=trace_id, **_job(scope)):
            try:
                await self._app(scope, receive, answer.send)
            except ClientDisconnect:
                log.info("client_disconnected", path=scope["path"])
            except Exception:
                log.exception("request_failed", method=scope["method"], path=scope["path"])
                if answer.started:
                    raise
                await _internal_error(trace_id)(scope, receive, answer.send)


class _Answer:
    """Marks the answer with the id, and knows whether it has begun."""

    def __init__(self, send: Send, trace_id: str) -> None:
        self._send = send
        self._trace_id = trace_id
        self.started = False
        self.status = CLIENT_GONE

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self._trace_id
        await self._send(message)


def _method(scope: Scope) -> str:
    """A client may send any word for it, and each would be a row of its own."""
    return scope["method"] if scope["method"] in METHODS else "OTHER"


def _job(scope: Scope) -> dict[str, str]:
    found = _JOB.search(scope["path"])
    return {"request_id": found[1]} if found else {}


def _internal_error(trace_id: str) -> ASGIApp:
    return error_response(
        500,
        INTERNAL_ERROR_CODE,
        f"The server failed; its log says why, under X-Request-Id {trace_id}.",
    )
