"""A server and a worker on this machine, as two processes tied to this one.

This process holds each child's standard input open; closing it asks the child to end, and so does
this process's own end, however it comes. Children are outside the terminal's process group, so
that Ctrl-C reaches this process alone and the order is its own: first the worker, which hands its
job back, then the server.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, Self
from urllib.parse import urlsplit, urlunsplit

from rotoscope import telemetry
from rotoscope.errors import OperatorError

log = telemetry.logger()

# A generation stops at its next step, which takes seconds; decoding a long clip takes longer.
END_S = 60.0
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 60.0
"""A child that ran this long before it died starts again almost at once."""
WRONG_SETUP = frozenset({1, 2})
"""Exit statuses of a command whose set-up is wrong: starting it again would change nothing."""
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - recognised here, not bound

Environment = Mapping[str, str]


class Child:
    """One `rotoscope` process, started again when it dies of anything but a wrong set-up."""

    def __init__(
        self,
        command: str,
        environment: Environment,
        output: IO[bytes] | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self.environment = dict(environment)
        self._output = output
        self._clock = clock
        self._deaths = 0
        self._again_at: float | None = None
        self._process = self._start()

    def announced(self) -> str:
        """The one line that the child prints when it is ready.

        Raises:
            OperatorError: It ended before.
        """
        assert self._process.stdout  # noqa: S101 - opened as a pipe in _start
        line = self._process.stdout.readline().decode().strip()
        if not line:
            self._process.wait()
            raise OperatorError(f"`rotoscope {self._command}` did not start.")
        return line

    def check(self) -> None:
        """Start the child again if it died, later each time.

        Raises:
            OperatorError: It ended because its set-up is wrong.
        """
        status = self._process.poll()
        if status is None:
            return
        if status in WRONG_SETUP:
            raise OperatorError(f"`rotoscope {self._command}` ended; its own message says why.")
        if self._again_at is None:
            self._again_at = self._clock() + self._backoff()
            log.warning("process_died", command=self._command, status=status)
        if self._clock() >= self._again_at:
            self._again_at = None
            self._process = self._start()

    def end(self) -> None:
        """Ask the child to end and wait; one that does not is killed."""
        assert self._process.stdin  # noqa: S101 - opened as a pipe in _start
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        finally:
            self._process.kill()
            self._close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._started_at = self._clock()
        return subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "rotoscope", self._command, "--tied"],
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            process_group=0,
        )

    def _backoff(self) -> float:
        self._close()
        if self._clock() - self._started_at > STEADY_S:
            self._deaths = 0
        self._deaths += 1
        return BACKOFF_S[min(self._deaths, len(BACKOFF_S)) - 1]

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


class LocalServer:
    """`serve` and `work`, with a worker key of their own that no file holds."""

    def __init__(
        self, server: Environment, worker: Environment, output: IO[bytes] | None = None
    ) -> None:
        key = secrets.token_urlsafe(32)
        self._server = Child("serve", {**server, "ROTOSCOPE_WORKER_KEY": key}, output)
        self.url = reachable(self._server.announced())
        # Started again, the server must be where it was.
        self._server.environment["ROTOSCOPE_PORT"] = str(urlsplit(self.url).port)
        self._worker = Child(
            "work",
            {**worker, "ROTOSCOPE_WORKER_KEY": key, "ROTOSCOPE_SERVER_URL": self.url},
            output,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._worker.end()
        finally:
            self._server.end()

    def check(self) -> None:
        self._server.check()
        self._worker.check()


def reachable(url: str) -> str:
    """The URL as this machine calls it: a server that listens anywhere is also on loopback."""
    parts = urlsplit(url)
    host = ANYWHERE.get(parts.hostname or "")
    return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}")) if host else url
