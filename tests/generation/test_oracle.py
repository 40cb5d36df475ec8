"""Our generate() against diffusers' own pipeline: same weights, sigmas and noise, same result."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2InContextPipeline
from torch import Tensor

from rotoscope.generation.codec import decode_audio, decode_frames
from rotoscope.generation.loras import LoraFile, open_lora
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices, InContext, Pass, Plan, dev_sigmas
from rotoscope.media.clip import Frames
from tests.generation.conftest import MakeLora, MakePlan, make_image, make_source
from tests.generation.oracle import make_oracle, run_oracle

# An eighth of a step of 8 bits. Mini subtracts large terms of the noise level; where a processor
# rounds that level in another order here than there, one step of float32 moves mini's pixels by
# 1.6e-4.
TOLERANCE = 5e-4
AUDIO_TOLERANCE = 1e-4

STAGES = ("one", "two", "two as published")


def some_of_all() -> Iterator[tuple[str, float, bool, bool, float]]:
    """Half of all combinations, so that any three choices still meet in every way."""
    for number, stages in enumerate(STAGES):
        for reference, image, lora in product([False, True], repeat=3):
            guided = (number + reference + image + lora) % 2 == 1
            yield stages, float(reference), image, lora, 3.0 if guided else 1.0
        yield stages, 0.6, True, True, 3.0


CASES = [*some_of_all()]


def refining(pipeline: Pipeline) -> LoraFile | None:
    checkpoint = pipeline.checkpoint
    if checkpoint.refine_lora is None:
        return None
    path = pipeline.models.folder / checkpoint.refine_lora
    return LoraFile(path, path.name, checkpoint.refine_lora_scale, "")


@contextmanager
def adapters(oracle: LTX2InContextPipeline, **loras: LoraFile | None) -> Iterator[None]:
    """Those of `loras` that are there, loaded together."""
    given = {name: lora for name, lora in loras.items() if lora}
    try:
        for name, lora in given.items():
            oracle.load_lora_weights(
                str(lora.path.parent), weight_name=lora.path.name, adapter_name=name
            )
        if given:
            oracle.set_adapters([*given], [lora.scale for lora in given.values()])
        yield
    finally:
        if given:
            oracle.unload_lora_weights()


def by_diffusers(
    pipeline: Pipeline,
    plan: Plan,
    source: Frames | None,
    image: Frames | None,
    lora: LoraFile | None,
) -> tuple[Tensor, Tensor]:
    """The oracle's answer, its LoRAs loaded by peft."""
    oracle = make_oracle(pipeline)

    def dressed(one: Pass) -> AbstractContextManager[None]:
        refine = refining(pipeline) if one != plan.passes[0] else None
        return adapters(oracle, style=lora, refine=refine)

    return run_oracle(oracle, pipeline, plan, source, image, dressed)


def run_ours(
    pipeline: Pipeline,
    plan: Plan,
    source: Frames | None,
    image: Frames | None,
    lora: LoraFile | None,
) -> tuple[Tensor, Tensor]:
    opened = [open_lora(lora, pipeline.models.transformer)] if lora else []
    latents = pipeline.sample(plan, source, image, opened, lambda *_: None)
    pixels = decode_frames(pipeline.models, latents.video_BCFHW)
    audio = decode_audio(pipeline.models, latents.audio_BLD)
    return (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 3, 0), torch.from_numpy(audio.samples_CS)


@pytest.mark.filterwarnings("ignore:.*peft_config.*:UserWarning")
@pytest.mark.parametrize(("stages", "strength", "image", "lora", "guidance"), CASES, ids=str)
def test_we_make_what_diffusers_makes(
    pipeline: Pipeline,
    as_published: Pipeline,
    plan_of: MakePlan,
    lora_of: MakeLora,
    stages: str,
    strength: float,
    image: bool,
    lora: bool,
    guidance: float,
) -> None:
    """Picture and sound agree with and without reference, first frame, LoRA, guidance, refining."""
    tested = as_published if stages == "two as published" else pipeline
    plan = plan_of(
        checkpoint=tested.checkpoint,
        use_multiscale=stages != "one",
        video_strength=strength,
        guidance_scale=guidance,
        seed=11,
        image_url="https://a.test/i.png" if image else None,
    )
    source = make_source(plan)
    picture = make_image(plan) if image else None
    file = lora_of(scale=0.7) if lora else None

    expected, expected_audio = by_diffusers(tested, plan, source, picture, file)
    video, audio = run_ours(tested, plan, source, picture, file)

    assert video.shape == (plan.frames, plan.size.height, plan.size.width, 3)
    assert (video - expected).abs().max() <= TOLERANCE
    assert (audio - expected_audio[0]).abs().max() <= AUDIO_TOLERANCE
    assert video.std() > 0.01
    assert audio.std() > 0.01


HALF = InContext(count=1, downscale=2)


@pytest.mark.filterwarnings("ignore:.*peft_config.*:UserWarning")
@pytest.mark.parametrize(
    ("fields", "choices", "in_context"),
    [
        ({}, Choices(), HALF),
        ({"use_multiscale": False, "video_strength": 0.6}, Choices(), HALF),
        ({}, Choices(stg_scale=1.0), None),
        ({"guidance_scale": 1.0, "use_multiscale": False}, Choices(stg_scale=0.7), None),
        ({"video_strength": 0.6}, Choices(plain_video="sdedit"), None),
        (
            {
                "video_strength": 0.3,
                "use_multiscale": False,
                "match_video_length": False,
                "num_frames": 25,
                "image_url": "https://a.test/i.png",
            },
            Choices(plain_video="sdedit"),
            None,
        ),
        ({"ic_lora": "detailer"}, Choices(detailer="three-step"), None),
    ],
    ids=["half", "half, one pass", "stg", "stg alone", "sdedit", "sdedit, held", "three steps"],
)
def test_we_make_what_diffusers_makes_of_each_choice(
    pipeline: Pipeline,
    plan_of: MakePlan,
    lora_of: MakeLora,
    fields: dict[str, Any],
    choices: Choices,
    in_context: InContext | None,
) -> None:
    """Smaller references, STG, starting from the source, the Detailer's published way."""
    size = {"width": 128, "height": 128}
    plan = plan_of(choices=choices, in_context=in_context, seed=11, video_size=size, **fields)
    source, picture = make_source(plan), make_image(plan) if plan.first_frame else None
    file = lora_of(scale=0.7)

    video, audio = run_ours(pipeline, plan, source, picture, file)
    expected, expected_audio = by_diffusers(pipeline, plan, source, picture, file)

    assert (video - expected).abs().max() <= TOLERANCE
    assert (audio - expected_audio[0]).abs().max() <= AUDIO_TOLERANCE
    assert video.std() > 0.01


def test_the_oracles_own_schedule_differs(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """Ours is the model's, whatever the size; diffusers' default moves with the token count."""
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, shift_terminal=0.1, base_shift=0.95, max_shift=2.05
    )

    def of_diffusers(tokens: int) -> Tensor:
        slope = (2.05 - 0.95) / (4096 - 1024)
        scheduler.set_timesteps(
            sigmas=np.linspace(1, 1 / 40, 40), mu=0.95 + slope * (tokens - 1024)
        )
        return scheduler.sigmas[:-1]

    ours = torch.tensor(dev_sigmas(40))
    assert (of_diffusers(4096) - ours).abs().max() < 1e-6
    # 1280 x 704, 121 frames, with a reference: most steps are spent on almost pure noise.
    assert (of_diffusers(28160) > 0.9).sum() > 1.5 * (ours > 0.9).sum()
    # 1920 x 1088 with a reference: not a number.
    with np.errstate(invalid="ignore"):
        assert of_diffusers(65280).isnan().any()
