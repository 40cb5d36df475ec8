"""Faults by the hundred: python -m tests.faults --jobs 500 --seconds 300."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.clip import make_clip
from tests.faults.run import Scene, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=300, help="most time of breaking things")
    parser.add_argument("--engine", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--faults", help="names with commas between them; all of them if unset")
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between two faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutant", action="append", default=[], help="plant this bug first")
    asked = parser.parse_args()
    # Told to end, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(
            engine=asked.engine,
            jobs=asked.jobs,
            clip=make_clip(Path(folder)),
            workers=asked.workers,
            faults=asked.faults.split(",") if asked.faults else None,
            pause_s=asked.pause,
            seconds=asked.seconds,
            seed=asked.seed,
            mutants=asked.mutant,
        )
        report = run(scene, lambda line: print(line, flush=True))  # noqa: T201
    sys.stdout.write("\n".join([*report.lines(), ""]))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
