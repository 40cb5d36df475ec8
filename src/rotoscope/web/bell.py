"""Wakes the claims that wait for a job.

A waiter listens before it looks into the table, so that a job that comes in between is not missed:

    rung = bell.listen()
    ... nothing there ...
    await bell.wait(rung, seconds)
"""

import asyncio
from contextlib import suppress


class Bell:
    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.draining = False
        """The server takes no new jobs."""
        self.closed = False
        """The server is ending: waiting claims are sent home."""

    def listen(self) -> asyncio.Event:
        self._loop = asyncio.get_running_loop()
        return self._rung

    async def wait(self, rung: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), seconds)

    def ring(self) -> None:
        """Wake every waiter; may be called from any thread."""
        # No loop: nobody listened yet. A closed one: the server has ended.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring)

    def drain(self) -> None:
        self.draining = True

    def close(self) -> None:
        self.draining = self.closed = True
        self.ring()

    def _ring(self) -> None:
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()
