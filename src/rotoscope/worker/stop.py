"""How a worker is told to end: by a signal, or by its parent's end when it is tied to it.

The first word asks it to finish up; a second signal ends it at once. A tied worker's standard
input is held open by its parent: end of file there means that the parent wants it to end, or died.
Such a worker leaves SIGINT to the parent, since Ctrl-C in a terminal reaches both.
"""

import os
import signal
from queue import SimpleQueue
from threading import Event, Thread
from types import FrameType

EXIT_AT_ONCE = 130
STDIN = 0


class Stop:
    """Set once, looked at everywhere. Until `ready`, there is nothing to finish up."""

    def __init__(self) -> None:
        self.event = Event()
        self._ready = False
        self._signals = 0
        # A signal handler may put into this queue; setting an Event there can deadlock.
        self._words: SimpleQueue[str] = SimpleQueue()

    def listen(self, *, tied: bool) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN if tied else self._on_signal)
        Thread(target=self._await_word, name="stop", daemon=True).start()
        if tied:
            Thread(target=self._await_end_of_input, name="tie", daemon=True).start()

    def ready(self) -> None:
        """From here on a job may be running, to be handed back before the end."""
        self._ready = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(EXIT_AT_ONCE)
        self._words.put("signal")

    def _await_word(self) -> None:
        self._words.get()
        self.event.set()
        if not self._ready:
            os._exit(0)

    def _await_end_of_input(self) -> None:
        while os.read(STDIN, 4096):
            pass
        self._words.put("end of input")
