"""Jobs an hour of one worker, with and without the overlap of jobs (ROTOSCOPE_OVERLAP).

    python -m bench.overlap [--jobs 4] [--seconds 10,26] [--size 1280x704] [--frames 121] [--runs 1]

A real server, and the real loop of a worker in this process; runs with and without take turns. The
card is a stand-in: a model that sleeps for so many seconds a clip, which leaves the processor free
as a card does, and then answers the source's own frames. What is real is all else: fetching,
reading, encoding and storing at full size. Then `mini` on the processor, at 256x128, 25 frames.
"""

import argparse
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.overhead import AROUND, SAMPLE, make_body
from bench.scene import scene
from bench.start import serving
from rotoscope.client import Client
from rotoscope.generation.pipeline import Generated, Pipeline
from rotoscope.generation.plan import Plan
from rotoscope.media.facts import Size
from rotoscope.schema.output import Result
from rotoscope.settings import Settings
from rotoscope.worker.loop import work
from rotoscope.worker.run import Model
from rotoscope.worker.stop import Stop
from tests.worker.stand_in_model import StandIn

PACKAGES = ("torch", "diffusers", "av")
OFF, ON = False, True


class Card(StandIn):
    """Takes `seconds` for a clip, spread over its steps by their cost, and nothing of the CPU."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def generate(self, plan: Plan, /, *rest: Any) -> Generated:
        *given, report, _ = rest
        whole = sum(plan.costs.values())

        def step(stage: str, done: int, steps: int) -> None:
            report(stage, done, steps)
            time.sleep(self._seconds * plan.costs[stage] / whole / steps)

        made = super().generate(plan, *given, step, None)
        self.images.clear()
        self.sources.clear()
        return made


@dataclass(frozen=True)
class Run:
    """Some jobs that were submitted at once."""

    wall_s: float
    jobs: Sequence[Mapping[str, float]]
    """Seconds of each by stage."""

    @property
    def per_job_s(self) -> float:
        return self.wall_s / len(self.jobs)

    def around_s(self) -> float:
        """What a job takes beside the model, the median."""
        return median(sum(job[stage] for stage in AROUND) for job in self.jobs)

    def waited_s(self) -> float:
        """How long a job waited for the model, the median of all but the first."""
        return median(job.get("wait", 0.0) for job in self.jobs[1:])


def main() -> None:
    options = read_options()
    size, frames = Size(*map(int, options.size.split("x"))), options.frames
    large = shape_of(size, frames, 40)
    cells: dict[str, tuple[Callable[[], Model], argparse.Namespace]] = {
        f"a stand-in of {seconds} s": (lambda s=seconds: Card(float(s)), large)  # type: ignore[misc]
        for seconds in filter(None, options.seconds.split(","))
    }
    cells["mini"] = (lambda: Pipeline.open(Settings()), shape_of(Size(256, 128), 25, 8))
    shown = Table("model", *COLUMNS)
    with tempfile.TemporaryDirectory(prefix="rotoscope-overlap-") as folder:
        for name, (open_model, shape) in cells.items():
            shown.add_row(name, *row(compare(open_model(), shape, options, Path(folder))))
    console = Console(highlight=False, width=140)
    console.print(shown)
    console.print(scene(PACKAGES, **vars(options)), markup=False, soft_wrap=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Jobs an hour with and without overlap.")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--seconds", default="10,26", help="of the stand-ins, a clip; empty: none")
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--runs", type=int, default=1, help="of which the fastest counts")
    return parser.parse_args()


def shape_of(size: Size, frames: int, steps: int) -> argparse.Namespace:
    """As make_body wants it."""
    return argparse.Namespace(width=size.width, height=size.height, frames=frames, steps=steps)


def compare(
    model: Model, shape: argparse.Namespace, options: argparse.Namespace, folder: Path
) -> dict[bool, Run]:
    """The fastest run of each kind."""
    runs: dict[bool, list[Run]] = {OFF: [], ON: []}
    for _ in range(options.runs):
        for overlap, done in runs.items():
            done.append(one_run(model, shape, options.jobs, folder, overlap=overlap))
    return {kind: min(done, key=lambda run: run.wall_s) for kind, done in runs.items()}


def one_run(
    model: Model, shape: argparse.Namespace, jobs: int, folder: Path, *, overlap: bool
) -> Run:
    with place(model, folder, overlap=overlap) as url, Client(url) as client:
        source = client.upload(SAMPLE).url
        started = time.perf_counter()
        # Seeds, so that nothing is remembered of the job before but its source and prompt.
        bodies = [make_body(shape, source) | {"seed": seed} for seed in range(jobs)]
        ids = [client.submit(one).request_id for one in bodies]
        results = [client.wait(id_, poll_s=0.05) for id_ in ids]
        return Run(time.perf_counter() - started, [seconds_of(result) for result in results])


def seconds_of(result: Result) -> Mapping[str, float]:
    assert result.metrics, result.error
    return result.metrics


@contextmanager
def place(model: Model, folder: Path, *, overlap: bool) -> Iterator[str]:
    """A server with one worker that has `model`; its URL."""
    key, stop = secrets.token_urlsafe(), Stop()
    environment = {
        "ROTOSCOPE_DATA_DIR": str(folder),
        "ROTOSCOPE_PORT": "0",
        "ROTOSCOPE_ANONYMOUS": "true",
        "ROTOSCOPE_WORKER_KEY": key,
    }
    with (folder / "log").open("ab") as log, serving(environment, log) as url:
        settings = Settings.model_validate(
            {"data_dir": folder, "server_url": url, "worker_key": key, "overlap": overlap}
        )
        worker = Thread(target=work, args=(settings, lambda _: model, stop))
        worker.start()
        try:
            yield url
        finally:
            stop.end()
            worker.join()


COLUMNS = ("a job without, s", "a job with, s", "ratio", "beside the model, s", "waited, s")


def row(runs: Mapping[bool, Run]) -> Iterator[str]:
    yield f"{runs[OFF].per_job_s:.2f}"
    yield f"{runs[ON].per_job_s:.2f}"
    yield f"{runs[ON].per_job_s / runs[OFF].per_job_s:.2f}"
    yield f"{runs[OFF].around_s():.2f}"
    yield f"{runs[ON].waited_s():.2f}"


if __name__ == "__main__":
    main()
