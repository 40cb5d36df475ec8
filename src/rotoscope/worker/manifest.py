"""What was really done, written down so that the clip can be made again."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

from rotoscope.generation.plan import Plan
from rotoscope.generation.weights import Checkpoint
from rotoscope.schema.output import LoraFacts, Manifest
from rotoscope.worker.inputs import Inputs

PACKAGES = ("rotoscope", "torch", "diffusers", "av")


def manifest_of(
    model_id: str,
    checkpoint: Checkpoint,
    plan: Plan,
    inputs: Inputs,
    loras: Sequence[LoraFacts],
) -> Manifest:
    return Manifest(
        model_id=model_id,
        checkpoint=checkpoint.name,
        prompt=plan.prompt,
        negative_prompt=plan.negative_prompt,
        seed=plan.seed,
        width=plan.size.width,
        height=plan.size.height,
        frames=plan.frames,
        fps=str(plan.fps),
        steps=plan.steps,
        guidance_scale=plan.guidance_scale,
        multiscale=plan.multiscale,
        audio=plan.audio,
        video_strength=plan.strength,
        source_sha256=inputs.video.sha256,
        image_sha256=inputs.image.sha256 if inputs.image else None,
        loras=list(loras),
        versions=versions(),
    )


@cache
def versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}
