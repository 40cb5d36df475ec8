"""How a worker is told to end: by a signal, or by its parent's end when it is tied to it.

SIGTERM drains it: no more jobs, and the running one is finished if it ends in time. SIGINT, which
is Ctrl-C, has the running job handed back at its next step. A second signal ends it at once. A tied
worker's standard input is held open by its parent: end of file there means that the parent wants it
to end, or died; its job is handed back too. Such a worker leaves SIGINT to the parent, since Ctrl-C
in a terminal reaches both.
"""

import os
import signal
from queue import SimpleQueue
from threading import Event, Thread
from types import FrameType

EXIT_AT_ONCE = 130
STDIN = 0


class Stop:
    """Set once, looked at everywhere. Until `ready`, there is nothing to finish up.

    Args:
        drain_s: Seconds that a running job has after SIGTERM before it is handed back.
    """

    def __init__(self, drain_s: float = 0.0) -> None:
        self.event = Event()
        """The running job is to be handed back."""
        self._draining = Event()
        self._drain_s = drain_s
        self._ready = False
        self._signals = 0
        # A signal handler may put into this queue; setting an Event there can deadlock.
        self._words: SimpleQueue[str] = SimpleQueue()

    @property
    def draining(self) -> bool:
        """Whether no more jobs are to be claimed."""
        return self._draining.is_set() or self.event.is_set()

    def wait(self, seconds: float) -> None:
        """Until there is a word to end, at most so long."""
        self._draining.wait(seconds)

    def drain(self) -> None:
        """Claim nothing more, and hand the running job back if it has not ended in time."""
        self._draining.set()
        Thread(target=self._give_time, name="drain", daemon=True).start()

    def end(self) -> None:
        """Claim nothing more, and hand running jobs back at their next step."""
        self.event.set()
        self._draining.set()

    def listen(self, *, tied: bool) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN if tied else self._on_signal)
        Thread(target=self._await_word, name="stop", daemon=True).start()
        if tied:
            Thread(target=self._await_end_of_input, name="tie", daemon=True).start()

    def ready(self) -> None:
        """From here on a job may be running, to be handed back before the end."""
        self._ready = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(EXIT_AT_ONCE)
        self._words.put("drain" if number == signal.SIGTERM else "end")

    def _await_word(self) -> None:
        while True:
            word = self._words.get()
            if not self._ready:
                os._exit(0)
            if word == "drain":
                self.drain()
            else:
                self.end()

    def _give_time(self) -> None:
        if not self.event.wait(self._drain_s):
            self.end()

    def _await_end_of_input(self) -> None:
        while os.read(STDIN, 4096):
            pass
        self._words.put("end")
