"""A wire between two processes that a test can cut, hold or make one-way.

It knows nothing of HTTP. Each connection goes to the next target in turn that answers, so that it
is a round-robin balancer as well.
"""

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from itertools import count
from threading import Event, Thread

Address = tuple[str, int]

PIECE = 64 * 1024
CONNECT_S = 2.0


class Wire(Enum):
    OPEN = "open"
    CUT = "cut"
    """Connections break and new ones are refused."""
    HELD = "held"
    """Nothing passes, and nobody is told."""
    DEAF = "deaf"
    """Requests arrive, their answers do not."""


class Proxy:
    """Listens on a port of its own until closed."""

    def __init__(self, targets: Sequence[Address]) -> None:
        self.targets = list(targets)
        self.wire = Wire.OPEN
        self._turn = count()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._over = Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        # Wakes the thread that waits in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.set_wire(Wire.CUT)
        self._thread.join(10)

    def set_wire(self, wire: Wire) -> None:
        self.wire = wire
        if wire is not Wire.OPEN:
            # A held connection stays, as it would when a cable is pulled.
            self._break_all(but_held=wire is not Wire.CUT)

    def _break_all(self, *, but_held: bool) -> None:
        if but_held:
            return
        with self._lock:
            broken = list(self._open)
        for one in broken:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        if self.wire is Wire.CUT or self._over.is_set():
            caller.close()
            return
        self._await_flow(answers=False)
        target = self._connect()
        if target is None:
            caller.close()
            return
        with self._lock:
            self._open |= {caller, target}
        back = Thread(target=self._pass, args=(target, caller), kwargs={"answers": True})
        back.start()
        self._pass(caller, target, answers=False)
        back.join()
        with self._lock:
            self._open -= {caller, target}
        caller.close()
        target.close()

    def _connect(self) -> socket.socket | None:
        """The next target in turn that answers."""
        first = next(self._turn)
        for turn in range(len(self.targets)):
            address = self.targets[(first + turn) % len(self.targets)]
            with suppress(OSError):
                made = socket.create_connection(address, timeout=CONNECT_S)
                made.settimeout(None)
                return made
        return None

    def _pass(self, source: socket.socket, to: socket.socket, *, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                if answers and self.wire is Wire.DEAF:
                    # Lost: what follows would make no sense without it.
                    break
                self._await_flow(answers=answers)
                to.sendall(data)
        for one in (source, to):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _await_flow(self, *, answers: bool) -> None:
        while self.wire is Wire.HELD and not self._over.is_set():
            self._over.wait(0.02)
