"""What diffusers' own pipeline makes of a plan: what ours is held equal to, and measured beside."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2InContextPipeline
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplePipeline
from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition
from diffusers.pipelines.ltx2.pipeline_ltx2_ic_lora import LTX2ReferenceCondition
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rotoscope.generation.codec import audio_shape
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Pass, Plan
from rotoscope.media.clip import Frames

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
    oracle: LTX2InContextPipeline,
    pipeline: Pipeline,
    plan: Plan,
    source: Frames | None,
    image: Frames | None,
    dressed: Callable[[Pass], AbstractContextManager[None]],
) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1] as T x H x W x C and samples, as diffusers makes them.

    Within `dressed` of a pass the transformer has the LoRAs that act there.
    """
    rng = torch.Generator().manual_seed(plan.seed)
    told = (pipeline.checkpoint.text_tokens, pipeline.checkpoint.stg_block)
    first, *second = plan.passes
    with dressed(first):
        last = "pt" if not second else "latent"
        start = start_of(pipeline, plan, source)
        video, audio = run_pass(oracle, plan, first, rng, source, image, start, last, *told)
    if second:
        upsampler = LTX2LatentUpsamplePipeline(
            vae=pipeline.models.vae, latent_upsampler=pipeline.models.upsampler
        )
        video = upsampler(latents=video, output_type="latent", return_dict=False)[0]
        with dressed(second[0]):
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
