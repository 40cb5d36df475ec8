"""Which sets of LoRAs a worker has at hand: those of its last jobs.

Their files are in its cache and in the machine's memory, so that another job with the same set
starts without asking anyone for them.
"""

from threading import Lock

MOST = 8


class Held:
    """Affinities, the one used last at the end; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sets: dict[str, None] = {}

    @property
    def sets(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._sets)

    def note(self, affinity: str) -> None:
        """A job of this affinity is run here; a job without LoRAs has none."""
        if not affinity:
            return
        with self._lock:
            self._sets.pop(affinity, None)
            self._sets[affinity] = None
            if len(self._sets) > MOST:
                del self._sets[next(iter(self._sets))]
