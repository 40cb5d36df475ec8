"""The web process: opens what it owns, listens, and closes it again when told to end."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from types import FrameType

import uvicorn
from fastapi import FastAPI

from rotoscope import telemetry
from rotoscope.errors import OperatorError
from rotoscope.jobs.open import open_store
from rotoscope.keys import open_keys
from rotoscope.settings import Settings
from rotoscope.storage import open_storage
from rotoscope.web.app import create_app
from rotoscope.web.auth import check_exposure

log = telemetry.logger()

# Running answers get this long once the server is told to end; waiting claims end at once.
GRACE_S = 10
BACKLOG = 2048

Ready = Callable[[str], None]


def serve(settings: Settings, *, worker_key: str | None = None, ready: Ready | None = None) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the base URL once connections are accepted.

    Raises:
        OperatorError: The settings, the data folder or the address do not allow it.
    """
    with ExitStack() as stack:
        keys = stack.enter_context(open_keys(settings))
        check_exposure(settings, keys)
        listener = stack.enter_context(_listen(settings.host, settings.port))
        store = stack.enter_context(closing(open_store(settings)))
        storage = open_storage(settings)
        app = create_app(store, storage, keys, settings, worker_key=worker_key)
        _run(app, listener, ready)


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI, listener: socket.socket, ready: Ready | None) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            # web/urls.py decides about forwarded headers.
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)
        self._app = app
        self._url = _url(listener)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("server_started", url=self._url)
        if self._ready is not None:
            self._ready(self._url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End once; uvicorn's own would raise the signal again and so skip the closing."""
        parts = self._app.state.parts
        drain_s = parts.settings.serve_drain_s
        if sig == signal.SIGTERM and drain_s and not parts.bell.draining:
            parts.bell.drain()
            later = threading.Timer(drain_s, self._end)
            later.daemon = True
            later.start()
            return
        self.force_exit = self.should_exit
        self._end()

    def _end(self) -> None:
        self._app.state.parts.bell.close()
        self.should_exit = True


def _run(app: FastAPI, listener: socket.socket, ready: Ready | None) -> None:
    server = _Server(app, listener, ready)
    asyncio.run(server.serve(sockets=[listener]))
    log.info("server_stopped")


def _listen(host: str, port: int) -> socket.socket:
    with ExitStack() as opened:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )[0]
            # With the protocol named: asyncio sets TCP_NODELAY only then, and without it each
            # answer waits 40 ms for the client's acknowledgement of its headers.
            listener = opened.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            raise OperatorError(
                f"Cannot listen on {host} port {port}: {error.strerror}. Choose another host or "
                "port."
            ) from error
        opened.pop_all()
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
