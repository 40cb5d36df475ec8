"""Denoise video and audio tokens together along a falling noise schedule.

Rectified flow with Euler steps: the model's velocity gives a guess of the clean tokens, guidance
moves it away from the negative prompt's guess, conditioning holds what must stay, and each step
goes part of the way there. Shapes as in condition.py; S are the schedule's points.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from rotoscope.generation.condition import Tokens
from rotoscope.generation.models import Models
from rotoscope.generation.text import TextEmbeddings

# Noisy video and audio tokens and sigma to a guess of the clean tokens of both.
Denoiser = Callable[[Tokens, Tensor, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class AudioVideo:
    """Both modalities in flight; audio tokens are always free."""

    video: Tokens
    audio_BLD: Tensor


def denoise(
    denoiser: Denoiser,
    state: AudioVideo,
    sigmas: tuple[float, ...],
    on_step: Callable[[int], None],
) -> AudioVideo:
    """Walk down `sigmas` and then to 0; `on_step` is told the number of steps done."""
    for step, (sigma, sigma_next) in enumerate(pairwise((*sigmas, 0.0)), start=1):
        video_BNC, audio_BLD = denoiser(state.video, state.audio_BLD, sigma)
        kept_BNC = torch.lerp(state.video.clean_BNC, video_BNC, state.video.mask_BN[..., None])
        left = sigma_next / sigma
        state = AudioVideo(
            replace(state.video, noisy_BNC=torch.lerp(kept_BNC, state.video.noisy_BNC, left)),
            torch.lerp(audio_BLD, state.audio_BLD, left),
        )
        on_step(step)
    return state


def make_denoiser(
    models: Models, text: TextEmbeddings, guidance_scale: float, fps: float
) -> Denoiser:
    """The transformer as a denoiser.

    Args:
        models: The transformer's checkpoint.
        text: Two rows, negative prompt and prompt, where `guidance_scale` is above 1; else one.
        guidance_scale: Classifier-free guidance (Ho and Salimans, 2022); 1 is none.
        fps: Frames a second, which place the tokens in time.
    """
    run = partial(_velocities, models, text, fps)

    def guess(video: Tokens, audio_BLD: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        video_velocity, audio_velocity = run(video, audio_BLD, sigma)
        return (
            _guide(video.noisy_BNC - sigma * video_velocity, guidance_scale),
            _guide(audio_BLD - sigma * audio_velocity, guidance_scale),
        )

    return guess


def _guide(guesses: Tensor, scale: float) -> Tensor:
    """Away from the first row's guess and towards the second's; one row is the guess itself."""
    if len(guesses) == 1:
        return guesses
    negative, positive = guesses.chunk(2)
    return positive + (scale - 1) * (positive - negative)


def _velocities(  # noqa: PLR0913, PLR0917 - the first three are bound once, above
    models: Models, text: TextEmbeddings, fps: float, video: Tokens, audio_BLD: Tensor, sigma: float
) -> tuple[Tensor, Tensor]:
    """One pass of the transformer, a row per prompt; velocities in float32."""
    transformer, rows = models.transformer, len(text.video_BLD)
    scale = transformer.config.timestep_scale_multiplier
    timestep_BN = (sigma * scale * video.mask_BN).expand(rows, -1)
    audio_timestep_B = timestep_BN.new_full((rows,), sigma * scale)
    audio_coords = transformer.audio_rope.prepare_audio_coords(
        rows, audio_BLD.shape[1], audio_BLD.device
    )
    output = transformer(
        hidden_states=video.noisy_BNC.expand(rows, -1, -1).to(transformer.dtype),
        audio_hidden_states=audio_BLD.expand(rows, -1, -1).to(transformer.dtype),
        encoder_hidden_states=text.video_BLD,
        audio_encoder_hidden_states=text.audio_BLD,
        timestep=timestep_BN,
        audio_timestep=audio_timestep_B,
        fps=fps,
        video_coords=video.coords_BXNE.expand(rows, -1, -1, -1),
        audio_coords=audio_coords,
        # As the 19B checkpoints were trained; later models differ.
        use_cross_timestep=False,
    )
    return output.sample.float(), output.audio_sample.float()
