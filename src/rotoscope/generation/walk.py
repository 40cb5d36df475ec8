"""One walk down a noise schedule: tokens made and noised, denoised, and taken apart again.

A two-stage generation walks twice, with the same prompt, first frame and stream of noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from rotoscope.generation.codec import audio_shape
from rotoscope.generation.condition import (
    Image,
    Tokens,
    add_noise,
    append_reference,
    encode_first_frame,
    keep_first_frame,
    make_noise,
    start_tokens,
    target_latents,
)
from rotoscope.generation.denoise import AudioVideo, Guidance, denoise, make_denoiser, text_for
from rotoscope.generation.interval import as_chosen
from rotoscope.generation.models import Models
from rotoscope.generation.once import computed_once
from rotoscope.generation.plan import FRAME_STEP, SIDE_STEP, Pass, Plan
from rotoscope.generation.preview import Watch, glimpse
from rotoscope.generation.speed import Speed
from rotoscope.generation.text import TextEmbeddings
from rotoscope.media.clip import Size

# Told the stage, its steps done and its steps; may raise to abort the generation.
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds a generation to the request."""

    text: TextEmbeddings
    """The prompt's row last; where any pass is guided, the negative prompt's before it."""
    image_HWC: Image | None
    sources_BCFHW: Mapping[Size, Tensor]
    """The source's latents at each size at which a pass uses it; none without a source."""


@dataclass(frozen=True, slots=True)
class Latents:
    """Where a walk starts and ends: normalised latents of picture and sound."""

    video_BCFHW: Tensor
    audio_BLD: Tensor


@dataclass(frozen=True, slots=True)
class Walk:
    """The walks of one generation."""

    models: Models
    conditions: Conditions
    plan: Plan
    rng: Generator
    report: Report
    speed: Speed
    watch: Watch | None = None
    apart: bool = False
    """Whether a step's guesses are computed one after the other."""

    def blank(self, size: Size) -> Latents:
        """Zeros of the clip's length at `size`: noised at sigma 1, nothing of them is left."""
        plan, device = self.plan, self.models.device
        shape = (
            1,
            self.models.transformer.config.in_channels,
            (plan.frames - 1) // FRAME_STEP + 1,
            size.height // SIDE_STEP,
            size.width // SIDE_STEP,
        )
        sound = audio_shape(self.models, float(plan.frames / plan.fps))
        return Latents(torch.zeros(shape, device=device), torch.zeros(sound, device=device))

    def start(self, one: Pass) -> Latents:
        """Where the first pass starts: from nothing, or from the source and no sound."""
        blank = self.blank(one.size)
        if not one.from_source or one.size not in self.conditions.sources_BCFHW:
            return blank
        source_BCFHW = self.conditions.sources_BCFHW[one.size]
        frames = blank.video_BCFHW.shape[2]
        # A source that ends earlier holds its last latent frame.
        last_BCFHW = source_BCFHW[:, :, -1:].expand(
            -1, -1, max(frames - source_BCFHW.shape[2], 0), -1, -1
        )
        return Latents(torch.cat([source_BCFHW, last_BCFHW], dim=2), blank.audio_BLD)

    def down(self, one: Pass, start: Latents) -> Latents:
        """Noise `start` to the first sigma of `one` and denoise it along the rest."""
        fps, sigma = float(self.plan.fps), one.sigmas[0]
        video = add_noise(self._tokens(one, start, fps), sigma, self.rng)
        noise_BLD = make_noise(start.audio_BLD, self.rng)
        state = AudioVideo(video, torch.lerp(start.audio_BLD, noise_BLD, sigma))
        guidance, none = Guidance(one.guidance_scale, one.stg_scale), Guidance(1.0)
        text, plain = (text_for(each, self.conditions.text) for each in (guidance, none))
        denoiser = as_chosen(
            make_denoiser(self.models, text, guidance, fps),
            make_denoiser(self.models, plain, none, fps),
            self.plan.choices,
        )
        with computed_once(self.models.transformer, text, self.speed, apart=self.apart):
            state = denoise(denoiser, state, one.sigmas, partial(self._on_step, one))
        return Latents(target_latents(state.video), state.audio_BLD)

    def _tokens(self, one: Pass, start: Latents, fps: float) -> Tokens:
        models, given = self.models, self.conditions
        tokens = start_tokens(models, start.video_BCFHW, fps)
        if given.image_HWC is not None:
            image_BCFHW = encode_first_frame(models, given.image_HWC, one.size)
            tokens = keep_first_frame(tokens, image_BCFHW)
        seen = self.plan.seen_at(one)
        if one.reference and seen in given.sources_BCFHW:
            tokens = append_reference(
                models,
                tokens,
                given.sources_BCFHW[seen],
                strength=self.plan.strength,
                downscale=self.plan.downscale,
                fps=fps,
            )
        return tokens

    def _on_step(self, one: Pass, done: int, guess: Tokens) -> None:
        self.report(one.stage, done, len(one.sigmas))
        if self.watch and self.watch.due(done, len(one.sigmas)):
            picture = glimpse(self.models, target_latents(guess))
            if picture is not None:
                self.watch.show(picture)
