"""What was really done, written down so that the clip can be made again."""

from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from typing import Any

from rotoscope.generation.loras import LoraFile
from rotoscope.generation.pipeline import Generated
from rotoscope.generation.plan import Plan
from rotoscope.generation.weights import Checkpoint
from rotoscope.preprocess.control import Control
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import LoraFacts, Manifest
from rotoscope.schema.worker import Assignment
from rotoscope.worker.inputs import Inputs

PACKAGES = ("rotoscope", "torch", "diffusers", "transformers", "av", "numpy")


def manifest_of(  # noqa: PLR0913, PLR0917 - all that a job was made with
    job: Assignment,
    checkpoint: Checkpoint,
    plan: Plan,
    inputs: Inputs,
    made: Generated,
    control: Control | None,
) -> Manifest:
    return Manifest(
        model_id=job.model_id,
        checkpoint=checkpoint.name,
        prompt=made.prompt,
        asked_prompt=job.input.prompt,
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
        preprocessor=control.facts if control else None,
        loras=[_traced(facts, file) for facts, file in zip(made.loras, inputs.loras, strict=True)],
        operator={**asdict(plan.choices), "memory": made.memory},
        versions=versions(),
        input=_as_accepted(job.input, inputs),
    )


@cache
def versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def _traced(facts: LoraFacts, file: LoraFile) -> LoraFacts:
    """With the commit, for one from Hugging Face: a branch or a tag may point elsewhere later."""
    if file.origin is None:
        return facts
    return facts.model_copy(update={"source": str(file.origin), "revision": file.origin.revision})


def _as_accepted(asked: VideoToVideoInput, inputs: Inputs) -> dict[str, Any]:
    """The request with every default written out, and the hash in the place of a data URI."""
    body: dict[str, Any] = asked.model_dump(mode="json")
    files = {"video_url": inputs.video, "image_url": inputs.image}
    for name, file in files.items():
        if file is not None and body[name].startswith("data:"):
            body[name] = f"sha256:{file.sha256}"
    return body
