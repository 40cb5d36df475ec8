"""Seconds of a generation by stage, beside diffusers' own pipeline in the same run.

    python -m bench.generate --count                 what each workload computes; nothing is run
    python -m bench.generate --checkpoint mini       the small checkpoint, on this machine
    python -m bench.generate --checkpoint 19b        full size, random weights, on a card
    python -m bench.generate --checkpoint 19b --trim 1 --size 64x64 --frames 9 --steps 8

The last is for trying the measurement without a card: one layer of each tall part. Workloads: W1 a
default request with the Detailer among its LoRAs; W1b the distilled model's 8 + 3 steps; W1c the
Detailer in three steps; W3 jobs that take turns with five LoRAs; W4 text to video. Each is warmed
up with two steps; a line of CSV for each goes to `--csv`. Meant to fit into ten minutes of an H200.
"""

import argparse
import csv
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.count import petaflop
from bench.full_size import LAYERS, STYLE_RANK, FullSize, make_lora, make_models
from bench.scene import scene
from rotoscope.generation.loras import Lora, merged
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices, InContext, Pass, Plan, make_plan
from rotoscope.generation.weights import CHECKPOINTS, Checkpoint
from rotoscope.media.clip import Frames, Size, VideoInfo
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.settings import Settings
from tests.generation.oracle import make_oracle, run_oracle

PACKAGES = ("rotoscope", "torch", "diffusers", "transformers")
FPS = Fraction(25)
DETAILER = InContext(count=1, detailer_alone=True)
TURNS, STYLES = 20, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is asked for; the size and length come from the command line."""

    fields: Mapping[str, Any]
    in_context: InContext | None = None
    choices: Choices | None = None
    distilled: bool = False
    size: Size | None = None
    """One of its own."""


WORKLOADS = {
    "W1": Workload(fields={}, in_context=DETAILER),
    "W1b": Workload(fields={}, in_context=InContext(count=1), distilled=True),
    "W1c": Workload(fields={}, in_context=DETAILER, choices=Choices(detailer="three-step")),
    "W4": Workload(fields={"video_strength": 0.0, "guidance_scale": 4.0}, size=Size(768, 512)),
}


@dataclass(frozen=True, slots=True)
class Timed:
    """One run: seconds of each stage, the whole, and the most memory it held."""

    stages: Mapping[str, float]
    total: float
    peak_bytes: int
    frames: Frames


def main() -> None:
    options = read_options()
    console = Console(highlight=False)
    if options.count:
        console.print(counted(options))
        return
    pipeline = open_pipeline(options)
    lines = [*measured(pipeline, options, console)]
    if "W3" in options.workloads:
        lines.append(take_turns(pipeline, options))
    console.print(table(lines))
    told = scene(PACKAGES, **vars(options) | {"device": device_name(pipeline)})
    console.print(told, markup=False, soft_wrap=True)
    if options.csv:
        append(options.csv, lines, told)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds of a generation, by stage.")
    parser.add_argument("--checkpoint", choices=("mini", "19b"), default="mini")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--workloads", default="W1,W1b,W1c,W3,W4", type=lambda text: text.split(",")
    )
    parser.add_argument("--size", default=None, help="WIDTHxHEIGHT; 1280x704, for mini 256x128")
    parser.add_argument("--frames", type=int, default=None, help="121, for mini 25")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--trim", type=int, default=LAYERS, help="layers to keep of tall parts")
    parser.add_argument("--no-diffusers", action="store_true")
    parser.add_argument("--count", action="store_true", help="count FLOPs on no device, and end")
    parser.add_argument("--csv", type=Path, default=None)
    options = parser.parse_args()
    small = options.checkpoint == "mini" and not options.count
    options.size = options.size or ("256x128" if small else "1280x704")
    options.frames = options.frames or (25 if small else 121)
    return options


def open_pipeline(options: argparse.Namespace) -> Pipeline:
    if options.checkpoint == "mini":
        return Pipeline.open(Settings(checkpoint="mini", device=options.device))
    return FullSize(make_models(torch.device(options.device), trim=options.trim))


def plan_of(work: Workload, checkpoint: Checkpoint, options: argparse.Namespace) -> Plan:
    width, height = map(int, options.size.split("x"))
    size = Size(width, height)
    if work.size and options.checkpoint == "19b" and options.trim == LAYERS:
        size = work.size
    asked = {
        "prompt": "black-and-white video, a girl is playing a guitar, film grain",
        "video_url": "https://example.com/clip.mp4",
        "loras": (),
        "match_video_length": False,
        "num_frames": options.frames,
        "num_inference_steps": options.steps,
        "video_size": {"width": size.width, "height": size.height},
    }
    seconds = float(options.frames / FPS)
    return make_plan(
        VideoToVideoInput.model_validate(asked | dict(work.fields)),
        VideoInfo(size=size, fps=FPS, duration_s=seconds, codec="h264"),
        replace(checkpoint, distilled=work.distilled),
        max_area=None,
        choices=work.choices,
        in_context=work.in_context,
    )


def shortened(plan: Plan) -> Plan:
    """The same shapes in two steps a pass."""
    passes = (replace(one, sigmas=one.sigmas[:2]) for one in plan.passes)
    return replace(plan, passes=tuple(passes))


def measured(
    pipeline: Pipeline, options: argparse.Namespace, console: Console
) -> Iterator[dict[str, object]]:
    """A line for each workload: ours, and diffusers' with the same weights, sigmas and noise."""
    for name in (one for one in options.workloads if one in WORKLOADS):
        work = WORKLOADS[name]
        plan = plan_of(work, pipeline.checkpoint, options)
        warm = shortened(plan)
        source = make_source(plan)
        loras = [make_lora(pipeline.models.transformer, "detailer", STYLE_RANK, in_context=True)]
        loras = loras if work.in_context else []
        console.print(f"{name}: ours", style="dim")
        run_ours(pipeline, warm, source, loras)
        ours = fastest([run_ours(pipeline, plan, source, loras) for _ in range(options.runs)])
        theirs = None
        if not options.no_diffusers:
            console.print(f"{name}: diffusers", style="dim")
            run_diffusers(pipeline, warm, source, loras)
            runs = [run_diffusers(pipeline, plan, source, loras) for _ in range(options.runs)]
            theirs = fastest(runs)
        yield line(name, plan, ours, theirs, options)


def make_source(plan: Plan) -> Frames | None:
    """Noise that moves: what it shows does not matter to the time that it takes."""
    if plan.reference is None:
        return None
    size, frames = plan.reference.size, plan.reference.frames
    drawn = np.random.default_rng(0).integers(0, 256, (size.height // 8, size.width // 8, 3))
    picture = np.kron(drawn, np.ones((8, 8, 1), int)).astype(np.uint8)
    return np.stack([np.roll(picture, 2 * number, axis=1) for number in range(frames)])


@torch.inference_mode()
def run_ours(pipeline: Pipeline, plan: Plan, source: Frames | None, loras: Sequence[Lora]) -> Timed:
    """As Pipeline.generate does, with LoRAs that came from no file."""
    with clock(pipeline.models.device) as stages:
        made = pipeline.make(plan, source, None, loras, stages.report)
    return stages.timed(made.clip.frames_THWC)


def run_diffusers(
    pipeline: Pipeline, plan: Plan, source: Frames | None, loras: Sequence[Lora]
) -> Timed:
    """Their loop over the same models; the LoRAs merged as ours are, which spares them peft."""
    models, first = pipeline.models, plan.passes[0]

    def dressed(one: Pass) -> AbstractContextManager[None]:
        acting = [lora for lora in loras if one.reference or not lora.in_context]
        refining = [] if one == first else pipeline.distilling
        return merged(models.transformer, [*acting, *refining])

    with torch.inference_mode():
        with clock(models.device) as stages:
            stages.report("all", 0, 1)
            oracle = make_oracle(pipeline)
            video, _ = run_oracle(oracle, pipeline, plan, source, None, dressed)
            frames = (video.float() * 255).round().to(torch.uint8).cpu().numpy()
        return stages.timed(frames)


class Stages:
    """When each stage began, as the pipeline reports its steps."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun: list[tuple[str, float]] = []

    def report(self, stage: str, _done: int, _steps: int) -> None:
        if not self._begun or self._begun[-1][0] != stage:
            self.begin(stage)

    def begin(self, stage: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._begun.append((stage, time.perf_counter()))

    def timed(self, frames: Frames) -> Timed:
        names, starts = zip(*self._begun, strict=True)
        seconds = np.diff(starts)
        stages = {name: float(one) for name, one in zip(names[:-1], seconds, strict=True)}
        peak = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else 0
        return Timed(stages, float(seconds.sum()), peak, frames)


@contextmanager
def clock(device: torch.device) -> Iterator[Stages]:
    """Times what runs within; memory is counted from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    stages = Stages(device)
    stages.begin("before")
    yield stages
    stages.begin("end")


def fastest(runs: Sequence[Timed]) -> Timed:
    return min(runs, key=lambda run: run.total)


def line(
    name: str, plan: Plan, ours: Timed, theirs: Timed | None, options: argparse.Namespace
) -> dict[str, object]:
    """One row of the answer; 19B's FLOPs are counted, mini's are not worth it."""
    full = options.checkpoint == "19b" and options.trim == LAYERS
    counted = petaflop(plan) if full else {}
    steps = "+".join(str(len(one.sigmas)) for one in plan.passes)
    shown: dict[str, object] = {
        "workload": name,
        "shape": f"{plan.size}, {plan.frames} frames, {steps} steps",
        "PFLOP": round(sum(counted.values()), 2) if full else "",
        "seconds": round(ours.total, 2),
        "TFLOP/s": round(1000 * sum(counted.values()) / ours.total) if full else "",
        "GB": round(ours.peak_bytes / 1e9, 1) or "",
        "stages": ", ".join(f"{stage} {s:.2f}" for stage, s in ours.stages.items() if s >= 0.005),
    }
    if theirs:
        shown["diffusers s"] = round(theirs.total, 2)
        shown["diffusers GB"] = round(theirs.peak_bytes / 1e9, 1) or ""
        shown["times as fast"] = round(theirs.total / ours.total, 2)
        shown["PSNR dB"] = round(psnr(ours.frames, theirs.frames), 1)
    return shown


def psnr(one: Frames, other: Frames) -> float:
    """Likeness of two clips in decibels; 99 where no byte differs."""
    error = np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else 99.0


def take_turns(pipeline: Pipeline, options: argparse.Namespace) -> dict[str, object]:
    """W3: what changing among five LoRAs adds to jobs of two steps, that being all that differs."""
    work = WORKLOADS["W1"]
    plan = shortened(plan_of(replace(work, in_context=None), pipeline.checkpoint, options))
    source = make_source(plan)
    styles = [
        make_lora(pipeline.models.transformer, f"style {number}", STYLE_RANK)
        for number in range(STYLES)
    ]
    run_ours(pipeline, plan, source, [])
    plain = [run_ours(pipeline, plan, source, []).total for _ in range(TURNS)]
    turns = [
        run_ours(pipeline, plan, source, [styles[turn % STYLES]]).total for turn in range(TURNS)
    ]
    added = float(np.median(turns) - np.median(plain))
    return {
        "workload": "W3",
        "shape": f"{plan.size}, {plan.frames} frames, {TURNS} jobs over {STYLES} LoRAs",
        "seconds": round(sum(turns), 2),
        "stages": f"a LoRA adds {added:.2f} s to a job of two steps that takes "
        f"{np.median(plain):.2f} s without",
    }


def counted(options: argparse.Namespace) -> Table:
    """FLOPs of LTX-2 19B for each workload and size."""
    shown = Table("workload", "shape", "denoise", "refine", "rest", "PFLOP", title_style="")
    for name, work in WORKLOADS.items():
        for size in ("768x512", "1280x704", "1920x1088") if work.size is None else ("768x512",):
            options.size = size
            plan = plan_of(work, CHECKPOINTS["ltx-2-19b-dev"], options)
            parts = petaflop(plan)
            first, second = parts.pop("denoise"), parts.pop("refine", 0.0)
            rest = sum(parts.values())
            cells = (f"{value:.2f}" for value in (first, second, rest, first + second + rest))
            steps = "+".join(str(len(one.sigmas)) for one in plan.passes)
            shown.add_row(name, f"{plan.size}, {plan.frames} frames, {steps} steps", *cells)
    return shown


def table(lines: Sequence[Mapping[str, object]]) -> Table:
    """The figures that there are, and below each row its stages."""
    names = [
        name
        for name in dict.fromkeys(name for one in lines for name in one)
        if name != "stages" and any(one.get(name) for one in lines)
    ]
    shown = Table(*names, show_lines=True)
    for one in lines:
        cells = [str(one.get(name, "")) for name in names]
        shown.add_row(cells[0], f"{cells[1]}\n{one['stages']}", *cells[2:])
    return shown


def device_name(pipeline: Pipeline) -> str:
    device = pipeline.models.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def append(file: Path, lines: Sequence[Mapping[str, object]], told: str) -> None:
    names = list(dict.fromkeys(name for one in lines for name in one))
    fresh = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*names, "scene"])
        if fresh:
            writer.writeheader()
        writer.writerows({**one, "scene": told} for one in lines)


if __name__ == "__main__":
    main()
