"""What LTX-2 19B computes for a plan, counted by torch on tensors that hold nothing."""

from functools import cache

import torch
from diffusers import AutoencoderKLLTX2Video
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel
from torch.utils.flop_counter import FlopCounterMode

from bench.full_size import LAYERS, make_transformer
from rotoscope.generation.plan import FRAME_STEP, SIDE_STEP, Plan
from rotoscope.media.clip import Size

TEXT_TOKENS, TEXT_WIDTH, CHANNELS = 1024, 3840, 128
# 25 latents of sound a second.
SOUND_RATE = 25
# Of Gemma 3 12B and the connectors for one prompt: two for each parameter and position.
TEXT_FLOP = 2 * (11.77e9 + 1.43e9) * TEXT_TOKENS


def petaflop(plan: Plan) -> dict[str, float]:
    """By stage, in 1e15 operations; a multiplication and its addition are two."""
    sound = round(float(plan.frames / plan.fps) * SOUND_RATE)
    parts = {
        one.stage: len(one.sigmas) * one.rows * transformer(plan.tokens(one), sound)
        for one in plan.passes
    }
    parts["text"] = (1 + (plan.guidance_scale > 1)) * TEXT_FLOP
    if plan.reference is not None:
        parts["condition"] = sum(
            codec("encode", size, plan.reference.frames) for size in plan.source_sizes
        )
    if plan.multiscale:
        parts["upsample"] = upsampler(plan.passes[0].size, plan.frames)
    parts["decode"] = codec("decode", plan.size, plan.frames)
    return {stage: flop / 1e15 for stage, flop in parts.items()}


@cache
def transformer(tokens: int, sound: int) -> float:
    """One row through all layers: they are alike, so that two models tell of any number."""
    one, two = (_transformer(layers, tokens, sound) for layers in (1, 2))
    return one + (LAYERS - 1) * (two - one)


def _transformer(layers: int, tokens: int, sound: int) -> float:
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        make_transformer(layers).eval()(
            hidden_states=torch.empty(1, tokens, CHANNELS),
            audio_hidden_states=torch.empty(1, sound, CHANNELS),
            encoder_hidden_states=torch.empty(1, TEXT_TOKENS, TEXT_WIDTH),
            audio_encoder_hidden_states=torch.empty(1, TEXT_TOKENS, TEXT_WIDTH),
            timestep=torch.empty(1, tokens),
            audio_timestep=torch.empty(1),
            fps=25.0,
            video_coords=torch.empty(1, 3, tokens, 2),
            audio_coords=torch.empty(1, 1, sound, 2),
            use_cross_timestep=False,
        )
    return float(counter.get_total_flops())


@cache
def codec(way: str, size: Size, frames: int) -> float:
    latent = ((frames - 1) // FRAME_STEP + 1, size.height // SIDE_STEP, size.width // SIDE_STEP)
    shape = (3, frames, size.height, size.width) if way == "encode" else (CHANNELS, *latent)
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        vae = AutoencoderKLLTX2Video().eval()
        getattr(vae, way)(torch.empty(1, *shape))
    return float(counter.get_total_flops())


@cache
def upsampler(size: Size, frames: int) -> float:
    latent = ((frames - 1) // FRAME_STEP + 1, size.height // SIDE_STEP, size.width // SIDE_STEP)
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        LTX2LatentUpsamplerModel().eval()(torch.empty(1, CHANNELS, *latent))
    return float(counter.get_total_flops())
