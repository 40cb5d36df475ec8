"""One run: load, faults, mending, the end of every job, the checks."""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from tests.faults.breaking import Breaker
from tests.faults.checks import SLACK_S, violations
from tests.faults.ghosts import Ghosts
from tests.faults.load import Load
from tests.faults.place import Engine, Place
from tests.faults.witness import read_all

KEYS = 4
LOOKED_AT = 20
"""Jobs whose results are asked for in one round while they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a run is made of."""

    engine: Engine
    jobs: int
    clip: Path
    workers: int = 3
    faults: Sequence[str] | None = None
    """Names of Breaker.kinds; None is all of them."""
    pause_s: float = 0.5
    """Mean time between two faults."""
    drain_s: float = 240.0
    """Most time that jobs may take to end once all is mended."""
    seconds: float = 20.0
    """Most time that things are broken for; less when all jobs have ended before."""
    seed: int = 0
    mutants: Sequence[str] = ()


@dataclass(slots=True)
class Report:
    """What happened."""

    accepted: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    starts_again: int = 0
    late_calls_refused: int = 0
    webhooks: int = 0
    seconds: float = 0.0
    refused: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        return [
            f"{self.accepted} jobs accepted in {self.seconds:.0f} s",
            f"starts: {self.starts}, of them again {self.starts_again}",
            "ends: " + _told(self.ends),
            "faults: " + _told(self.faults),
            f"late calls refused: {self.late_calls_refused}; webhooks arrived: {self.webhooks}",
            *(f"submit refused: {one}" for one in self.refused),
            *(f"VIOLATION: {one}" for one in self.violations),
            f"violations: {len(self.violations)}",
        ]


def run(scene: Scene, told: Callable[[str], None] = lambda _: None) -> Report:
    """Play the scene in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="rotoscope-faults-") as folder:
        return run_in(Path(folder), scene, told)


def run_in(folder: Path, scene: Scene, told: Callable[[str], None]) -> Report:
    with Place(folder, scene.engine, mutants=scene.mutants, small_disk=True) as place:
        tokens = place.create_keys(KEYS)
        place.open(scene.workers)
        ghosts = Ghosts(lambda: place.url, place.witness, place.lease_s)
        webhook = place.receiver.url
        load = Load(place.url, tokens, scene.clip, seed=scene.seed, webhook=webhook)
        breaker = Breaker(place, ghosts, seed=scene.seed)
        started = time.monotonic()
        load.start(scene.jobs)
        _break(scene, load, breaker, started)
        told(f"mending after {time.monotonic() - started:.0f} s: {_told(breaker.done)}")
        breaker.mend()
        _drain(load, place, scene.drain_s)
        # Once more: what has ended must not change, and a lost worker may still be on its way.
        load.look(load.jobs)
        load.close()
        return _report(scene, place, load, breaker, ghosts, time.monotonic() - started)


def _break(scene: Scene, load: Load, breaker: Breaker, started: float) -> None:
    chance = random.Random(scene.seed)

    def enough() -> bool:
        open_jobs = load.unfinished()
        load.look(chance.sample(load.jobs, min(LOOKED_AT, len(load.jobs))))
        early = time.monotonic() - started < scene.seconds
        return (
            not (early or load.busy() or open_jobs)
            or time.monotonic() - started > scene.drain_s * 10
        )

    names = list(scene.faults) if scene.faults is not None else list(breaker.kinds)
    breaker.run([name for name in names if name in breaker.kinds], enough, scene.pause_s)


def haunt(
    folder: Path, engine: Engine, clip: Path, mutants: Sequence[str] = (), *, drain_s: float
) -> list[str]:
    """A small run without processes for workers: lost ones come back, then an honest one works.

    `drain_s` is the most time that jobs may take to end.

    Returns:
        The broken promises.
    """
    with Place(folder, engine, lease_s=0.5, mutants=mutants) as place:
        tokens = place.create_keys(1)
        place.start_server()
        ghosts = Ghosts(lambda: place.url, place.witness, place.lease_s)
        webhook = place.receiver.url
        load = Load(place.url, tokens, clip, seed=0, cancels=0, webhook=webhook)
        load.start(8)
        while load.busy():
            Event().wait(0.05)
        ghosts.haunt(4, Event())
        hand = Thread(target=ghosts.work, args=(load.over,), daemon=True)
        hand.start()
        _drain(load, place, drain_s)
        load.look(load.jobs)
        load.close()
        hand.join(20)
        seen = read_all(place.witness)
        return [*violations(load.jobs, seen, place, slack_s=2.0), *ghosts.faults]


def _drain(load: Load, place: Place, seconds: float) -> None:
    """Wait until all that was accepted has ended, and until that was told."""
    until = time.monotonic() + seconds
    while (load.busy() or load.unfinished()) and time.monotonic() < until:
        load.look(load.unfinished())
        Event().wait(0.2)
    told = place.receiver.told
    while not all(job.request_id in told for job in load.jobs) and time.monotonic() < until:
        Event().wait(0.2)


def _report(
    scene: Scene, place: Place, load: Load, breaker: Breaker, ghosts: Ghosts, seconds: float
) -> Report:
    seen = read_all(place.witness)
    starts = [one for one in seen if one.what == "start"]
    slack_s = 0.0 if scene.workers == 1 else SLACK_S
    broken = violations(load.jobs, seen, place, slack_s=slack_s)
    return Report(
        accepted=len(load.jobs),
        ends=Counter(_end_of(job.ended) for job in load.jobs),
        faults=breaker.done,
        starts=len(starts),
        starts_again=len(starts) - len({one.request_id for one in starts}),
        late_calls_refused=ghosts.refused,
        webhooks=sum(len(ends) for ends in place.receiver.told.values()),
        seconds=seconds,
        refused=load.refused,
        violations=[*broken, *ghosts.faults],
    )


def _end_of(result: dict[str, object] | None) -> str:
    if result is None:
        return "none"
    error = result.get("error")
    return str(error["code"] if isinstance(error, dict) else result["status"])


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
