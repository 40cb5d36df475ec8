"""Which workers are there: each is noted in the table now and then, not at every call."""

import time
from collections.abc import Callable
from threading import Lock

from rotoscope.jobs.store import JobStore
from rotoscope.schema.worker import Presence

EVERY_S = 10.0
"""A worker's own row is written this often, by each server that it speaks to."""


class Presences:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._noted: dict[str, float] = {}

    def note(self, presence: Presence, store: JobStore) -> None:
        """Tell the table that this worker is there, if that was not done a moment ago."""
        now = self._clock()
        with self._lock:
            if now - self._noted.get(presence.worker_id, -EVERY_S) < EVERY_S:
                return
            self._noted = {id_: at for id_, at in self._noted.items() if now - at < EVERY_S}
            self._noted[presence.worker_id] = now
        store.seen(presence.worker_id, presence.pool, presence.facts)
