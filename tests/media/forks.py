"""The decoding child many times over: a process that has it loaded forks instead of starting anew.

What a fork does is `decode_child.main` from its first line, with its own limits, filter and end; it
saves only the start of Python, of numpy and of PyAV, a quarter of a second each time.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn, Self

from rotoscope.media.sandbox import CHILD, CHILD_ENV


class Forks:
    """The parent of them all; `start` takes the place of sandbox._start, one child at a time.

    `limits` are other values of confine.py's numbers; without `filtered` only they hold, as on a
    machine that neither filters system calls nor lets a process leave its network.
    """

    def __init__(self, *, filtered: bool = True, **limits: int) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server = subprocess.Popen(
            [sys.executable, "-I", __file__, str(theirs.fileno()), json.dumps([filtered, limits])],
            env=CHILD_ENV,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def start(self, file: IO[bytes], order: dict[str, Any]) -> "Fork":
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        text = json.dumps(order).encode()
        socket.send_fds(self._line, [text], [file.fileno(), their_out, their_err])
        os.close(their_out)
        os.close(their_err)
        return Fork(int(self._line.recv(20)), self._line, out, err)

    def close(self) -> None:
        self._line.close()
        self._server.wait(60)


class Fork:
    """As much of subprocess.Popen as sandbox.py uses."""

    def __init__(self, pid: int, line: socket.socket, out: int, err: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.peak_bytes = 0
        self._line = line
        self.stdout, self.stderr = os.fdopen(out, "rb", 0), os.fdopen(err, "rb", 0)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self.returncode is None:
            said = json.loads(self._line.recv(200))
            self.returncode, self.peak_bytes = said["returncode"], said["peak_bytes"]
        return self.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()


@contextmanager
def forks(*, filtered: bool = True, **limits: int) -> Iterator[Forks]:
    opened = Forks(filtered=filtered, **limits)
    try:
        yield opened
    finally:
        opened.close()


def serve(line: socket.socket, limits: dict[str, int], *, filtered: bool) -> None:
    """Fork for each order; tell the process's number, then how it ended."""
    from rotoscope.media import confine, decode_child  # noqa: PLC0415 - in the parent of forks alone

    for name, value in limits.items():
        setattr(confine, name, value)
    if not filtered:
        decode_child.confine = confine.limit
    while True:
        text, fds, _, _ = socket.recv_fds(line, 1000, 3)
        if not text:
            return
        pid = os.fork()
        if pid == 0:
            line.close()
            become_child(decode_child, text.decode(), fds)
        line.sendall(str(pid).encode())
        for fd in fds:
            os.close(fd)
        _, status, used = os.wait4(pid, 0)
        ended = {
            "returncode": os.waitstatus_to_exitcode(status),
            "peak_bytes": used.ru_maxrss * 1024,
        }
        line.sendall(json.dumps(ended).encode())


def become_child(decode_child: Any, text: str, fds: list[int]) -> NoReturn:
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.argv = [str(CHILD), text]
    try:
        decode_child.main()
    finally:  # also where an exception leaves it: this is no place to return to
        os._exit(1)


if __name__ == "__main__":
    filtered, limits = json.loads(sys.argv[2])
    serve(socket.socket(fileno=int(sys.argv[1])), limits, filtered=filtered)
