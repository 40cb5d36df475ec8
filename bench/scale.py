"""A thousand workers against one PostgreSQL, through the store's own verbs: where does it saturate?

    python -m bench.scale                              # on a server of its own, from the test wheel
    python -m bench.scale --url postgresql://... --processes 16 --rates 10000,20000

Workers and clients are simulated: each waits as a real one would (a job's length, a heartbeat, the
second between two looks at an empty queue) and calls the very verb that the web process calls for
it. Processes stand for replicas of the web process. A rate is kept if jobs end as fast as they are
submitted; where it is not, the last column says whether the database or this simulation, which
shares the machine with it, was late. What one job costs the database in CPU time does not depend
on that: cores of the database = jobs a second x that time.
"""

import argparse
import heapq
import itertools
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import psutil
from pydantic import SecretStr

from rotoscope.jobs.open import open_store
from rotoscope.jobs.store import Beat, JobStore, NewJob
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Progress
from rotoscope.settings import Settings
from tests.jobs.conftest import make_outcome

ROOT = Path(__file__).parent.parent
KEYS = 50
IDLE_S = 1.0
"""Between two looks at an empty queue, as web/worker.py does."""
LONGEST_S = 6.0
"""Mean length of a job at most: what is left of the workers then looks at an empty queue."""
WARM_UP_S = 1.5 * LONGEST_S + 1
LATE_S = 0.5
"""A simulation whose calls begin so late measures itself."""
KEPT = 0.97
"""Share of the asked rate that counts as kept."""
ASKED = VideoToVideoInput(prompt="a red bicycle", video_url="https://example.org/a.mp4", loras=())
PROGRESS = Progress(stage="denoise", stages=["denoise"], step=1, steps=20, fraction=0.5, eta_s=3)
OUTCOME = make_outcome()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    url: str
    workers: int
    rate: float
    """Jobs a minute."""
    seconds: float
    beat_s: float
    processes: int
    threads: int

    @property
    def job_s(self) -> float:
        """So long that the workers are nine tenths busy at this rate, but never over LONGEST_S."""
        return min(LONGEST_S, 0.9 * self.workers / (self.rate / 60))


@dataclass(slots=True)
class Tally:
    """What one process measured."""

    latencies_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lags_s: list[float] = field(default_factory=list)
    """How late calls were begun: the simulation itself did not keep up."""

    def add(self, other: "Tally") -> None:
        for verb, values in other.latencies_s.items():
            self.latencies_s[verb] += values
        self.lags_s += other.lags_s


Step = Callable[[], float | None]
"""One call of an actor; seconds until its next one, or None at its end."""


class Actors:
    """One thread's share of the simulated workers and clients."""

    def __init__(self, store: JobStore, scene: Scene, seed: int, begin: float) -> None:
        self.tally = Tally()
        self._store = store
        self._scene = scene
        self._chance = random.Random(seed)  # noqa: S311 - seeded chance, not secrets
        self._begin = begin
        self._number = itertools.count()
        self._due: list[tuple[float, int, Step]] = []

    def add(self, step: Step, first_in_s: float) -> None:
        heapq.heappush(self._due, (self._begin + first_in_s, next(self._number), step))

    def add_client(self, per_s: float) -> None:
        self.add(lambda: self._submit(per_s), self._chance.expovariate(per_s))

    def add_worker(self, name: str) -> None:
        gone = self._work(name)
        self.add(lambda: next(gone), self._chance.uniform(0, IDLE_S))

    def run(self) -> None:
        end = self._begin + WARM_UP_S + self._scene.seconds
        while self._due and self._due[0][0] < end:
            due, _, step = heapq.heappop(self._due)
            time.sleep(max(0.0, due - time.monotonic()))
            if due > self._begin + WARM_UP_S:
                self.tally.lags_s.append(time.monotonic() - due)
            pause = step()
            if pause is not None:
                self.add(step, time.monotonic() - self._begin + pause)

    def _submit(self, per_s: float) -> float:
        began = time.monotonic()
        key = f"key-{self._chance.randrange(KEYS)}"
        with self._timed("submit"):
            self._store.submit(NewJob(model_id="m", key_id=key, input=ASKED))
        # An open loop: the next submit does not wait for a slow answer to this one.
        return max(0.0, self._chance.expovariate(per_s) - (time.monotonic() - began))

    def _work(self, name: str) -> Iterator[float]:
        while True:
            with self._timed("claim"):
                lease = self._store.claim(name)
            if lease is None:
                yield IDLE_S
                continue
            left = self._scene.job_s * self._chance.uniform(0.5, 1.5)
            while left > self._scene.beat_s:
                yield self._scene.beat_s
                left -= self._scene.beat_s
                with self._timed("heartbeat"):
                    beat = self._store.heartbeat(lease.job.id, lease.token, PROGRESS)
                assert beat is Beat.HELD
            yield left
            with self._timed("succeed"):
                assert self._store.succeed(lease.job.id, lease.token, OUTCOME)

    @contextmanager
    def _timed(self, verb: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        if began > self._begin + WARM_UP_S:
            self.tally.latencies_s[verb].append(time.monotonic() - began)


def play(scene: Scene) -> Tally:
    """Run one rate with as many processes as the scene says."""
    begin = time.monotonic() + 1.0
    with multiprocessing.get_context("fork").Pool(scene.processes) as pool:
        parts = pool.starmap(replica, [(scene, part, begin) for part in range(scene.processes)])
    whole = Tally()
    for part in parts:
        whole.add(part)
    return whole


def replica(scene: Scene, part: int, begin: float) -> Tally:
    """One process: its share of the actors, spread over its threads."""
    share = scene.processes * scene.threads
    with open_store(Settings(database_url=SecretStr(scene.url))) as store:
        crowd = []
        for thread in range(scene.threads):
            number = part * scene.threads + thread
            actors = Actors(store, scene, number, begin)
            actors.add_client(scene.rate / 60 / share)
            for worker in range(number, scene.workers, share):
                actors.add_worker(f"worker-{worker}")
            crowd.append(actors)
        threads = [Thread(target=actors.run) for actors in crowd]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    tally = Tally()
    for actors in crowd:
        tally.add(actors.tally)
    return tally


def row(scene: Scene, tally: Tally, cpu_s: float) -> str:
    """One line of the table; `cpu_s` is what the database computed from warm-up to end."""
    ended = len(tally.latencies_s["succeed"]) * 60 / scene.seconds
    calls = sum(len(values) for values in tally.latencies_s.values()) / scene.seconds
    verbs = [told(tally.latencies_s[verb]) for verb in ("submit", "claim", "heartbeat", "succeed")]
    lag = quantile(tally.lags_s, 0.99)
    whole_s = scene.seconds + WARM_UP_S
    per_job = cpu_s / max(1.0, ended / 60 * whole_s) * 1000
    cpu = [f"{cpu_s / whole_s:.2f}", f"{per_job:.1f}"]
    cells = [f"{scene.rate:,.0f}", f"{ended:,.0f}", f"{calls:,.0f}", *verbs, *cpu, f"{lag:.2f}"]
    cells.append(verdict(scene, ended, lag))
    return f"| {' | '.join(cells)} |"


def verdict(scene: Scene, ended: float, lag_s: float) -> str:
    if ended >= KEPT * scene.rate:
        return "kept"
    return "simulation late" if lag_s > LATE_S else "database late"


def told(values_s: Sequence[float]) -> str:
    return f"{quantile(values_s, 0.5) * 1000:.1f} / {quantile(values_s, 0.99) * 1000:.0f}"


def quantile(values: Sequence[float], share: float) -> float:
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an empty database; unset: a server of its own")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--rates", default="1000,2500,5000,10000", help="jobs a minute")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--beat", type=float, default=2.0, help="seconds between heartbeats")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=8)
    asked = parser.parse_args()
    with database(asked.url) as server:
        print(
            f"{os.cpu_count()} cores for database and simulation together, load "
            f"{os.getloadavg()[0]:.1f}; {asked.workers} workers, a heartbeat each "
            f"{asked.beat:g} s, {asked.processes} processes; verbs in ms, p50 / p99\n"
        )
        print("| jobs a minute | ended | calls a second | submit | claim | heartbeat | succeed "
              "| database, cores | database, CPU ms a job | lag p99, s | |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for rate in asked.rates.split(","):
            scene = Scene(
                url=server.url(),
                workers=asked.workers,
                rate=float(rate),
                seconds=asked.seconds,
                beat_s=asked.beat,
                processes=asked.processes,
                threads=asked.threads,
            )
            before = server.cpu_s()
            tally = play(scene)
            print(row(scene, tally, server.cpu_s() - before), flush=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tables are, and what they cost."""

    url: Callable[[], str]
    """An empty database for each rate, or the one that was named for all of them."""
    cpu_s: Callable[[], float]
    """CPU seconds of the database server so far; nan where it is elsewhere."""


@contextmanager
def database(url: str | None) -> Iterator[Place]:
    if url:
        yield Place(lambda: url, lambda: float("nan"))
        return
    sys.path.insert(0, str(ROOT))
    from tests.postgres import running  # noqa: PLC0415 - of the tests, where nothing else is named

    with running({"shared_buffers": "256MB"}) as server:
        yield Place(server.create_database, lambda: cpu_of(server.pid))


def cpu_of(pid: int) -> float:
    """Seconds of a process, its children and those that have ended."""
    parent = psutil.Process(pid)
    own = parent.cpu_times()
    children = [child.cpu_times() for child in parent.children(recursive=True)]
    ended = own.children_user + own.children_system
    return float(own.user + own.system + ended + sum(one.user + one.system for one in children))


if __name__ == "__main__":
    main()
