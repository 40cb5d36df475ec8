"""What `mini` takes on this machine's processor, by stage: threads, memory layout, compiled, ranks.

    python -m bench.cpu [--size 448x256] [--frames 49] [--runs 2] [--guidance 3] [--no-compiled]

Wall seconds, the fastest of runs that take turns; PSNR is that of the pictures to the first row's.
Two processes have a thread each, so they have what one process with two threads has; with
`--guidance 1` each computes half of every guess. `compiled` takes a C++ compiler; its time does not
count, as the code is kept.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.generate import PACKAGES, Timed, clock, device_name, fastest, psnr, shortened
from bench.ladder import plan_of, source_of
from bench.scene import scene
from rotoscope.generation.compiled import compile_blocks
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Plan
from rotoscope.generation.ranks import TwoRanks
from rotoscope.media.clip import Frames
from rotoscope.settings import Settings

STAGES = ("text", "condition", "denoise", "upsample", "refine", "decode")


def main() -> None:
    options = read_options()
    settings = Settings(checkpoint="mini", device="cpu", recall_bytes=0, sequence_parallel=True)
    two = TwoRanks.start(settings)
    one = Pipeline(two.models)
    plan = plan_of(one, options)
    source = source_of(plan)

    def threads(count: int, pipeline: Pipeline = one) -> Callable[[], Timed]:
        def timed() -> Timed:
            torch.set_num_threads(count)
            return run(pipeline, plan, source)

        return timed

    ways = {"1 thread": threads(1), "2 threads": threads(2), "2 processes": threads(1, two)}
    runs = [{name: way() for name, way in ways.items()} for _ in range(options.runs)]
    best = {name: fastest([one[name] for one in runs]) for name in ways}
    assert two.helper
    two.helper.end()
    with channels_last(one):
        best["2 threads, channels last"] = fastest([threads(2)() for _ in range(options.runs)])
    if not options.no_compiled:
        compile_blocks(one.models.transformer, Path(tempfile.gettempdir()) / "rotoscope-compiled")
        run(one, shortened(plan), source)
        best["2 threads, compiled"] = fastest([threads(2)() for _ in range(options.runs)])
    console = Console(highlight=False)
    console.print(table(best))
    told = scene(PACKAGES, device=device_name(one), **vars(options))
    console.print(told, markup=False, soft_wrap=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds of a generation on the processor.")
    for name, default in {"frames": 49, "steps": 20, "runs": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--size", default="448x256")
    parser.add_argument("--no-compiled", action="store_true")
    return parser.parse_args()


def run(pipeline: Pipeline, plan: Plan, source: Frames | None) -> Timed:
    with clock(pipeline.models.device) as stages:
        made = pipeline.generate(plan, source, None, [], stages.report)
    return stages.timed(made.clip.frames_THWC)


@contextmanager
def channels_last(pipeline: Pipeline) -> Iterator[None]:
    """Within this context the picture codec's weights are laid out channels last."""
    vae = pipeline.models.vae
    vae.to(memory_format=torch.channels_last_3d)
    yield
    vae.to(memory_format=torch.contiguous_format)


def table(best: Mapping[str, Timed]) -> Table:
    shown = Table("mini by", *STAGES, "s", "of the first", "PSNR dB")
    first, *_ = best.values()
    for name, timed in best.items():
        seconds = (f"{timed.stages.get(stage, 0):.2f}" for stage in STAGES)
        share, like = timed.total / first.total, psnr(timed.frames, first.frames)
        shown.add_row(name, *seconds, f"{timed.total:.2f}", f"{share:.2f}", f"{like:.1f}")
    return shown


if __name__ == "__main__":
    main()
