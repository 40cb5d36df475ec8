"""What each step of the ladder saves of a generation, and what it costs of the result, on mini.

    python -m bench.ladder                   a table of all steps
    python -m bench.ladder --only text,fast  some of them

Every step runs beside the exact profile, in the same process and right after it. Seconds are the
processor's, which other work on the machine disturbs less than the wall's. PSNR is that of the
pictures to the exact result's; 99 is no byte of difference.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.models.transformers.transformer_ltx2 import LTX2Attention
from rich.console import Console
from rich.table import Table
from torch import nn

import rotoscope
from bench.generate import PACKAGES, device_name, psnr, shortened
from bench.scene import scene
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices, Plan, dev_sigmas, make_plan
from rotoscope.generation.speed import Speed
from rotoscope.media.clip import Frames, Size, VideoInfo
from rotoscope.media.decode import decode
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.settings import Settings

RECALLED = 10**9
COMPILED = Path(tempfile.gettempdir()) / "rotoscope-compiled"
SAMPLE = Path(rotoscope.__file__).parent / "data" / "sample.mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to run; what is not named is as in the exact profile, without anything kept."""

    speed: Speed = field(default_factory=Speed)
    choices: Choices = field(default_factory=Choices)
    quarters: int = 4
    """Of the steps: what skipping some must beat."""
    attention: str | None = None


RUNGS: Mapping[str, Rung] = {
    "nothing once": Rung(speed=Speed(once=())),
    "text": Rung(speed=Speed(once=("text",))),
    "positions": Rung(speed=Speed(once=("positions",))),
    "levels": Rung(speed=Speed(once=("levels",))),
    "guesses apart": Rung(speed=Speed(guidance_batch="apart")),
    "decoded in tiles": Rung(choices=Choices(decode_tiles=True)),
    "recall": Rung(speed=Speed(recall_bytes=RECALLED)),
    "attention flash": Rung(attention="_native_flash"),
    "attention math": Rung(attention="_native_math"),
    "skip below 0.02": Rung(choices=Choices(skip_below=0.02)),
    "skip below 0.05": Rung(choices=Choices(skip_below=0.05)),
    "skip below 0.1": Rung(choices=Choices(skip_below=0.1)),
    "guided below 0.9": Rung(choices=Choices(guidance_interval=(0.0, 0.9))),
    "guided above 0.6": Rung(choices=Choices(guidance_interval=(0.6, 1.0))),
    "guided above 0.8": Rung(choices=Choices(guidance_interval=(0.8, 1.0))),
    "guided above 0.9": Rung(choices=Choices(guidance_interval=(0.9, 1.0))),
    "guided 0.6 to 0.95": Rung(choices=Choices(guidance_interval=(0.6, 0.95))),
    "fast": Rung(choices=Choices.of(Settings(profile="fast"))),
    "3/4 of the steps": Rung(quarters=3),
    "1/2 of the steps": Rung(quarters=2),
    # The last, since the models stay compiled; warmed up by two steps.
    "compiled": Rung(speed=Speed(compiled=COMPILED)),
}


@dataclass(frozen=True, slots=True)
class Ran:
    seconds: float
    """Of the processor."""
    frames: Frames


def main() -> None:
    parser = argparse.ArgumentParser(description="What each step of the ladder saves and costs.")
    parser.add_argument("--only", default=",".join(RUNGS), type=lambda text: text.split(","))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", default="256x128")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    pipeline = Pipeline.open(Settings(checkpoint="mini", device="cpu"))
    plan = plan_of(pipeline, options)
    source = source_of(plan)
    run(pipeline, Rung(), shortened(plan), source)
    shown = Table("step", "CPU s", "exact, CPU s", "of exact", "PSNR dB")
    console = Console(highlight=False)
    for name in options.only:
        pairs = [
            (run(pipeline, Rung(), plan, source), run(pipeline, RUNGS[name], plan, source))
            # What is compiled stays so: the exact profile would be, from the second pair on.
            for _ in range(1 if RUNGS[name].speed.compiled else options.runs)
        ]
        exact, ours = (min(runs, key=lambda one: one.seconds) for runs in zip(*pairs, strict=True))
        share, like = ours.seconds / exact.seconds, psnr(ours.frames, exact.frames)
        cells = (f"{ours.seconds:.2f}", f"{exact.seconds:.2f}", f"{share:.2f}", f"{like:.1f}")
        console.print(name, *cells, style="dim")
        shown.add_row(name, *cells)
    console.print(shown)
    told = scene(PACKAGES, device=device_name(pipeline), **vars(options))
    console.print(told, markup=False, soft_wrap=True)


def plan_of(pipeline: Pipeline, options: argparse.Namespace) -> Plan:
    """The sample restyled in two passes, with guidance unless `options` say otherwise."""
    size = Size(*map(int, options.size.split("x")))
    asked = {
        "prompt": "black-and-white video, film grain, rain",
        "video_url": "https://example.com/clip.mp4",
        "loras": (),
        "guidance_scale": getattr(options, "guidance", 3.0),
        "match_video_length": False,
        "num_frames": options.frames,
        "num_inference_steps": options.steps,
        "video_size": {"width": size.width, "height": size.height},
    }
    info = VideoInfo(size=size, fps=Fraction(25), duration_s=4, codec="h264")
    request = VideoToVideoInput.model_validate(asked)
    return make_plan(request, info, pipeline.checkpoint, max_area=None)


def source_of(plan: Plan) -> Frames:
    assert plan.reference is not None
    wanted = plan.reference
    return decode(SAMPLE, frames=wanted.frames, fps=plan.fps, size=wanted.size)


def run(pipeline: Pipeline, rung: Rung, plan: Plan, source: Frames) -> Ran:
    """A generation as `rung` says; with anything remembered, the second of two."""
    fast = Pipeline(pipeline.models, speed=rung.speed)
    plan = replace(plan, choices=rung.choices)
    first, *second = plan.passes
    sigmas = dev_sigmas(len(first.sigmas) * rung.quarters // 4)
    plan = replace(plan, passes=(replace(first, sigmas=sigmas), *second))
    if rung.speed.recall_bytes or rung.speed.compiled:
        fast.sample(shortened(plan), source, None, [], lambda *_: None)
    with attending(pipeline.models.transformer, rung.attention):
        start = time.process_time()
        made = fast.generate(plan, source, None, [], lambda *_: None)
        return Ran(time.process_time() - start, made.clip.frames_THWC)


@contextmanager
def attending(transformer: nn.Module, name: str | None) -> Iterator[None]:
    """Within this context the transformer attends by that backend of diffusers'; None: as it is."""
    backend = AttentionBackendName(name) if name else None
    processors = [
        layer.processor for layer in transformer.modules() if isinstance(layer, LTX2Attention)
    ]
    for processor in processors:
        processor._attention_backend = backend  # noqa: SLF001 - has no other
    yield
    for processor in processors:
        processor._attention_backend = None  # noqa: SLF001


if __name__ == "__main__":
    main()
