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
from rotoscope.generation.perturb import perturb_self_attention, perturbed_rows
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
    on_step: Callable[[int, Tokens], None],
) -> AudioVideo:
    """Walk down `sigmas` and then to 0.

    `on_step` is told the number of steps done, and the video tokens with the guess of the clean
    ones in the place of the noisy ones.
    """
    for step, (sigma, sigma_next) in enumerate(pairwise((*sigmas, 0.0)), start=1):
        video_BNC, audio_BLD = denoiser(state.video, state.audio_BLD, sigma)
        kept_BNC = torch.lerp(state.video.clean_BNC, video_BNC, state.video.mask_BN[..., None])
        left = sigma_next / sigma
        state = AudioVideo(
            replace(state.video, noisy_BNC=torch.lerp(kept_BNC, state.video.noisy_BNC, left)),
            torch.lerp(audio_BLD, state.audio_BLD, left),
        )
        on_step(step, replace(state.video, noisy_BNC=kept_BNC))
    return state


@dataclass(frozen=True, slots=True)
class Guidance:
    """What pushes a guess: away from the negative prompt's, and from a perturbed model's."""

    scale: float
    """Classifier-free guidance (Ho and Salimans, 2022); 1 is none."""
    stg_scale: float = 0.0
    """Spatio-temporal guidance (Hyung et al., 2024); 0 is none."""


def text_for(guidance: Guidance, text: TextEmbeddings) -> TextEmbeddings:
    """The rows of `text` that are read: negative prompt, prompt, and it again to be perturbed."""
    rows = [-2] * (guidance.scale > 1) + [-1] + [-1] * (guidance.stg_scale > 0)
    return TextEmbeddings(text.video_BLD[rows], text.audio_BLD[rows])


def make_denoiser(models: Models, text: TextEmbeddings, guidance: Guidance, fps: float) -> Denoiser:
    """The transformer as a denoiser.

    Args:
        models: The transformer's checkpoint.
        text: A row for each guess that `guidance` needs, from text_for.
        guidance: What to push guesses by.
        fps: Frames a second, which place the tokens in time.
    """
    stg_block = None
    if guidance.stg_scale > 0:
        stg_block = models.checkpoint.stg_block
        perturb_self_attention(models.transformer, stg_block)
    run = partial(_velocities, models, text, fps, stg_block)

    def guess(video: Tokens, audio_BLD: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        video_velocity, audio_velocity = run(video, audio_BLD, sigma)
        return (
            _guide(video.noisy_BNC - sigma * video_velocity, guidance),
            _guide(audio_BLD - sigma * audio_velocity, guidance),
        )

    return guess


def _guide(guesses: Tensor, guidance: Guidance) -> Tensor:
    """One guess of up to three: of the negative prompt, the prompt, and the perturbed model."""
    if guidance.stg_scale > 0:
        guesses, perturbed = guesses[:-1], guesses[-1:]
    positive = guided = guesses[-1:]
    if len(guesses) > 1:
        guided = guided + (guidance.scale - 1) * (positive - guesses[:1])
    if guidance.stg_scale > 0:
        guided = guided + guidance.stg_scale * (positive - perturbed)
    return guided


def _velocities(  # noqa: PLR0913, PLR0917 - the first four are bound once, above
    models: Models,
    text: TextEmbeddings,
    fps: float,
    stg_block: int | None,
    video: Tokens,
    audio_BLD: Tensor,
    sigma: float,
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
        **perturbed_rows(transformer, stg_block, rows, video.noisy_BNC.device),
        # As the 19B checkpoints were trained; later models differ.
        use_cross_timestep=False,
    )
    return output.sample.float(), output.audio_sample.float()
