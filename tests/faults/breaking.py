"""The faults: each breaks something for a moment and mends it again."""

import random
from collections import Counter
from collections.abc import Callable
from threading import Event, Thread

from tests.faults.ghosts import Ghosts
from tests.faults.place import Place, stopped
from tests.faults.proxy import Wire

HOUR_S = 3600.0


class Breaker:
    """Breaks one thing after the other, at random moments, until told to stop."""

    def __init__(self, place: Place, ghosts: Ghosts, *, seed: int) -> None:
        self._place = place
        self._ghosts = ghosts
        self._chance = random.Random(seed)
        self._over = Event()
        self._haunting: list[Thread] = []
        self.done: Counter[str] = Counter()
        self.kinds: dict[str, Callable[[], None]] = {
            "kill_worker": self.kill_worker,
            "hang_worker": self.hang_worker,
            "kill_server": self.kill_server,
            "cut_wire": self.cut_wire,
            "jump_server_clock": self.jump_server_clock,
            "jump_worker_clock": self.jump_worker_clock,
            "claim_at_once": self.claim_at_once,
        }
        if place.database:
            self.kinds["kill_database"] = self.kill_database
        if place.disk_is_small:
            self.kinds["fill_disk"] = self.fill_disk

    def run(self, names: list[str], until: Callable[[], bool], pause_s: float) -> None:
        """Break these in random order, all of them equally often, until `until` says so."""
        while not until():
            for name in self._chance.sample(names, len(names)):
                if until():
                    break
                self.kinds[name]()
                self.done[name] += 1
                self._over.wait(self._chance.uniform(0, 2 * pause_s))

    def mend(self) -> None:
        """Leave nothing broken, and wait for the ghosts' last words."""
        self._place.wire.set_wire(Wire.OPEN)
        self._place.free_disk()
        self._place.server_clock.set(0)
        self._place.worker_clock.set(0)
        for thread in self._haunting:
            thread.join(60)

    def stop(self) -> None:
        self._over.set()

    def kill_worker(self) -> None:
        self._place.replace_worker(self._chance)

    def hang_worker(self) -> None:
        """Longer than its lease, so that its work is done by another meanwhile."""
        worker = self._chance.choice(self._place.workers)
        with stopped(worker):
            self._over.wait(self._place.lease_s * self._chance.uniform(0.5, 3))

    def kill_server(self) -> None:
        self._place.kill_server()
        self._over.wait(self._chance.uniform(0, self._place.lease_s))
        self._place.start_server()

    def kill_database(self) -> None:
        assert self._place.database
        self._place.database.kill()
        self._over.wait(self._chance.uniform(0, self._place.lease_s))
        self._place.database.start()

    def cut_wire(self) -> None:
        self._place.wire.set_wire(self._chance.choice([Wire.CUT, Wire.HELD, Wire.DEAF]))
        self._over.wait(self._place.lease_s * self._chance.uniform(0.1, 2))
        self._place.wire.set_wire(Wire.OPEN)

    def fill_disk(self) -> None:
        self._place.fill_disk()
        self._over.wait(self._chance.uniform(0.2, self._place.lease_s))
        self._place.free_disk()

    def jump_server_clock(self) -> None:
        self._place.server_clock.set(self._chance.uniform(-HOUR_S, HOUR_S))

    def jump_worker_clock(self) -> None:
        self._place.worker_clock.set(self._chance.uniform(-HOUR_S, HOUR_S))

    def claim_at_once(self) -> None:
        thread = Thread(target=self._ghosts.haunt, args=(4, self._over), daemon=True)
        thread.start()
        self._haunting.append(thread)
