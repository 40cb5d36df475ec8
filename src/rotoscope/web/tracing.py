"""One id per HTTP request: in its answer's X-Request-Id header and in every log line about it.

It stands around everything else, so it is also what answers for errors nobody foresaw.
"""

import structlog
import uuid_utils
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rotoscope import telemetry
from rotoscope.web.errors import INTERNAL_ERROR_CODE, error_response

log = telemetry.logger()


class Tracing:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = str(uuid_utils.uuid7())
        answer = _Answer(send, trace_id)
        with structlog.contextvars.bound_contextvars(http_request_id=trace_id):
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

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            MutableHeaders(scope=message)["X-Request-Id"] = self._trace_id
        await self._send(message)


def _internal_error(trace_id: str) -> ASGIApp:
    return error_response(
        500,
        INTERNAL_ERROR_CODE,
        f"The server failed; its log says why, under X-Request-Id {trace_id}.",
    )
