"""TLS in front of a server that speaks plain HTTP, as a proxy of the operator's would be."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import trustme


@contextmanager
def tls_port(folder: Path) -> Iterator["Terminator"]:
    """A free port on localhost that takes TLS; where it leads is said later."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    loop = asyncio.new_event_loop()
    terminator = Terminator(folder / "ca.pem")
    listening = loop.run_until_complete(
        asyncio.start_server(terminator.pass_on, "127.0.0.1", 0, ssl=context)
    )
    terminator.port = listening.sockets[0].getsockname()[1]
    thread = Thread(target=loop.run_forever, name="tls")
    thread.start()
    try:
        yield terminator
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


class Terminator:
    """Passes bytes between each TLS connection and `to`, a port of this machine."""

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = ca_file
        self.port = 0
        self.to = 0

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    async def pass_on(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, there = await asyncio.open_connection("127.0.0.1", self.to)
        await asyncio.gather(_copy(near, there), _copy(far, back))


async def _copy(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    """Pass bytes on until either side ends."""
    with suppress(OSError, asyncio.CancelledError):
        while piece := await source.read(65536):
            into.write(piece)
            await into.drain()
    into.close()
    with suppress(OSError, ssl.SSLError):
        await into.wait_closed()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
