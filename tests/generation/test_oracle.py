"""Our generate() against diffusers' own pipeline: same weights, sigmas and noise, same result."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2InContextPipeline
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rotoscope.generation.codec import audio_shape, decode_audio, decode_frames
from rotoscope.generation.loras import LoraFile, open_lora
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices, InContext, Pass, Plan, dev_sigmas
from rotoscope.media.clip import Frames
from tests.generation.conftest import MakeLora, MakePlan, make_image, make_source

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

# Everything in diffusers' guidance that is not plain classifier-free guidance, off by name.
PLAIN = {
    "modality_scale": 1.0,
    "audio_modality_scale": 1.0,
    "guidance_rescale": 0.0,
    "audio_guidance_rescale": 0.0,
    "use_cross_timestep": False,
}


def make_oracle(pipeline: Pipeline) -> LTX2InContextPipeline:
    models = pipeline.models
    oracle = LTX2InContextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False, shift=1.0),
        vae=models.vae,
        audio_vae=models.audio_vae,
        text_encoder=models.text_encoder,
        tokenizer=models.tokenizer,
        connectors=models.connectors,
        transformer=models.transformer,
        vocoder=models.vocoder,
    )
    oracle.set_progress_bar_config(disable=True)
    return oracle


def run_pass(
    oracle: LTX2InContextPipeline,
    plan: Plan,
    one: Pass,
    rng: torch.Generator,
    source: Frames | None,
    image: Frames | None,
    start: tuple[Tensor, Tensor] | None,
    output_type: str,
    text_tokens: int,
    stg_block: int,
) -> tuple[Any, Tensor]:
    conditions = None
    if image is not None:
        conditions = [LTX2VideoCondition(frames=Image.fromarray(image), index=0, strength=1.0)]
    references = None
    if one.reference and source is not None:
        pixels = torch.from_numpy(source).permute(0, 3, 1, 2).float() / 255
        # Twice the size of the pass or its own: the mean of a square of pixels.
        pixels = avg_pool2d(pixels, source.shape[1] // plan.seen_at(one).height)
        references = [LTX2ReferenceCondition(frames=pixels, strength=plan.strength)]
    video, audio = oracle(
        prompt=plan.prompt,
        negative_prompt=plan.negative_prompt,
        conditions=conditions,
        reference_conditions=references,
        reference_downscale_factor=plan.downscale,
        width=one.size.width,
        height=one.size.height,
        num_frames=plan.frames,
        frame_rate=float(plan.fps),
        sigmas=list(one.sigmas),
        num_inference_steps=len(one.sigmas),
        noise_scale=one.sigmas[0],
        guidance_scale=one.guidance_scale,
        audio_guidance_scale=one.guidance_scale,
        stg_scale=one.stg_scale,
        audio_stg_scale=one.stg_scale,
        spatio_temporal_guidance_blocks=[stg_block] if one.stg_scale else None,
        generator=rng,
        latents=None if start is None else start[0],
        audio_latents=None if start is None else start[1],
        max_sequence_length=text_tokens,
        output_type=output_type,
        return_dict=False,
        **PLAIN,
    )
    return video, audio


def run_oracle(
    pipeline: Pipeline,
    plan: Plan,
    source: Frames | None,
    image: Frames | None,
    lora: LoraFile | None,
) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1] as T x H x W x C and samples, as diffusers makes them."""
    oracle = make_oracle(pipeline)
    rng = torch.Generator().manual_seed(plan.seed)
    told = (pipeline.checkpoint.text_tokens, pipeline.checkpoint.stg_block)
    first, *second = plan.passes
    with adapters(oracle, style=lora):
        last = "pt" if not second else "latent"
        start = start_of(pipeline, plan, source)
        video, audio = run_pass(oracle, plan, first, rng, source, image, start, last, *told)
    if second:
        upsampler = LTX2LatentUpsamplePipeline(
            vae=pipeline.models.vae, latent_upsampler=pipeline.models.upsampler
        )
        video = upsampler(latents=video, output_type="latent", return_dict=False)[0]
        with adapters(oracle, style=lora, refine=refining(pipeline)):
            video, audio = run_pass(
                oracle, plan, second[0], rng, source, image, (video, audio), "pt", *told
            )
    return video[0].permute(0, 2, 3, 1), audio


def start_of(pipeline: Pipeline, plan: Plan, source: Frames | None) -> tuple[Tensor, Tensor] | None:
    """The source's latents, the last one held, and the codec's mean sound, not normalised."""
    first, models = plan.passes[0], pipeline.models
    if source is None or not first.from_source:
        return None
    pixels = torch.from_numpy(source).permute(0, 3, 1, 2).float() / 127.5 - 1
    pixels = avg_pool2d(pixels, source.shape[1] // first.size.height)
    video = models.vae.encode(pixels.permute(1, 0, 2, 3)[None]).latent_dist.mode()
    missing = (plan.frames - 1) // 8 + 1 - video.shape[2]
    video = torch.cat([video, *[video[:, :, -1:]] * missing], dim=2)
    _, length, channels = audio_shape(models, float(plan.frames / plan.fps))
    mean = models.audio_vae.latents_mean.view(models.audio_vae.config.latent_channels, 1, -1)
    assert mean.numel() == channels
    return video, mean.expand(-1, length, -1)[None]


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

    expected, expected_audio = run_oracle(tested, plan, source, picture, file)
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
    expected, expected_audio = run_oracle(pipeline, plan, source, picture, file)

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
