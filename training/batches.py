"""What the base model is trained on: batches of noisy tokens, their text, and the right answer.

All latents here are in units of each channel's deviation, so noise has the deviation 1/amplitude.

    B  batch    C  latent channels    F, H, W  of the latents    N  tokens    X, E  as in the engine
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from training.clips import Shape
from training.codec import AMPLITUDE, EXPONENT, YCC, Codec
from training.pool import BUCKETS
from training.styles import STYLES, Example, Style, draw
from training.upsampler import upsampled

# The engine's schedules: the shifted one of the first pass, and the refining pass's three steps.
SHIFT = math.exp(2.05)
REFINE_SIGMAS = (0.909375, 0.725, 0.421875)
TOKENS = 1600
REFERENCE_SHARE, REFINE_SHARE = 0.78, 0.15
FIRST_FRAME_SHARE, NOISED_SHARE, PERTURBED_SHARE, PURE_NOISE_SHARE = 0.1, 0.25, 0.5, 0.25
GRAIN_CELL, GRAIN_HOLD, GRAIN_DEVIATION = 4, 4, 0.12
GRAIN_BANK = 2048
SMALL_CHANGE = 0.15
# With a reference; the second stage's pass without one; prompt alone.
KINDS = ("reference", "refine", "free")


@dataclass(frozen=True, slots=True)
class Batch:
    kind: str
    prompts: list[str]
    shape: Shape
    fps: float
    noisy_BNC: Tensor
    """The target's tokens, then the reference's where there is one."""
    timestep_BN: Tensor
    """Noise of each token, 0 to 1."""
    clean_BNC: Tensor
    """Of the target's tokens alone."""
    sigma_B: Tensor
    weight_B: Tensor
    """How much a sample counts."""
    free_BN: Tensor
    """1 where the answer counts: not in a given first frame."""


class Batches:
    """Draws batches from the pool; the same seed draws the same."""

    def __init__(
        self,
        pool: dict[Shape, dict[str, Tensor]],
        codec: Codec,
        upsampler: Tensor,
        seed: int,
        examples: Callable[[Random], Example] = draw,
    ) -> None:
        self.pool, self.upsampler, self.draw = pool, upsampler, examples
        self.amplitude_C = amplitude(codec)
        self.importance_C = importance(codec)
        self.rng, self.noise = Random(seed), torch.Generator().manual_seed(seed)
        self.mean_C = codec.mean_C / codec.std_C / self.amplitude_C
        self.white_3C = _flat_colours(codec) / codec.std_C / self.amplitude_C
        self.planes_C = codec.planes_C.long()
        self.grain_NC = _grain(codec, self.noise) / self.amplitude_C

    def next(self) -> Batch:
        rng = self.rng
        shape = rng.choices(list(self.pool), [BUCKETS[one] for one in self.pool])[0]
        mode = rng.random()
        refine = REFERENCE_SHARE <= mode < REFERENCE_SHARE + REFINE_SHARE
        reference = mode < REFERENCE_SHARE
        size = max(2, round(TOKENS / (shape.tokens * (2 if reference else 1))))
        examples = [self.draw(rng) for _ in range(size)]
        targets, sources, starts = zip(
            *(self._pictures(shape, example, refine) for example in examples), strict=True
        )
        clean = torch.stack(targets)
        sigma_B = torch.tensor([self._sigma(refine) for _ in examples])
        noisy = self._noised(torch.stack(starts), sigma_B.view(-1, 1, 1, 1, 1))
        free = torch.ones(size, *shape.latent)
        if not refine and rng.random() < FIRST_FRAME_SHARE:
            free[:, 0] = 0
            noisy[:, :, 0] = clean[:, :, 0]
        timestep_BN = (free * sigma_B.view(-1, 1, 1, 1)).flatten(1)
        tokens = _tokens(noisy)
        if reference:
            source = torch.stack(sources)
            share_B = torch.tensor([self._reference_noise() for _ in examples]) * sigma_B
            source = self._noised(source, share_B.view(-1, 1, 1, 1, 1))
            tokens = torch.cat([tokens, _tokens(source)], 1)
            timestep_BN = torch.cat([timestep_BN, share_B[:, None].expand(-1, shape.tokens)], 1)
        return Batch(
            "refine" if refine else "reference" if reference else "free",
            [example.prompt for example in examples],
            shape,
            rng.choice((12.0, 15.0, 24.0, 25.0, 30.0, 50.0, 60.0)),
            tokens,
            timestep_BN,
            _tokens(clean),
            sigma_B,
            self._weights(clean, torch.stack(sources)),
            free.flatten(1),
        )

    def _pictures(
        self,
        shape: Shape,
        example: Example,
        refine: bool,  # noqa: FBT001 - private
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The styled target, its source, and the picture that is noised.

        The last is the target itself, or one that is wrong on purpose: guidance and early guesses
        lead the real walk astray, and the prompt must win over what is on the canvas.
        """
        rng, latents = self.rng, self.pool[shape]
        index = rng.randrange(len(latents["plain"]))
        gain, offset = self._lighting()
        source = self.unit(latents["plain"][index]) * gain + offset
        variant = next((s.variant for s in example.styles if s.variant != "plain"), "plain")
        picture = self.unit(latents[variant][index])
        if variant != "drawing":
            picture = picture * gain + offset
        target = self._coloured(picture, example.styles)
        if any(style.grain for style in example.styles):
            target = target + self._grain(target)
        start = target
        if refine and variant == "plain" and "half" in latents:
            small = self.unit(latents["half"][index]) * gain + offset
            larger = upsampled(small[None], self.upsampler)[0]
            start = start + self._coloured(larger - picture, example.styles, shift=False)
        elif not refine and not example.dropped and rng.random() < PERTURBED_SHARE:
            other = self._coloured(source, (rng.choice(list(STYLES.values())),))
            start = start + rng.uniform(-1, 1) * (other - self._coloured(picture, example.styles))
        return target, source, start

    def _weights(self, clean: Tensor, sources: Tensor) -> Tensor:
        """Styles that change much, such as a negative, must not drown those that change little."""
        change_BC = (clean - sources).square().mean((2, 3, 4))
        return 1 / (SMALL_CHANGE + (change_BC * self.importance_C).mean(1))

    def unit(self, latents_CFHW: Tensor) -> Tensor:
        return latents_CFHW.float() / self.amplitude_C.view(-1, 1, 1, 1)

    def _lighting(self) -> tuple[Tensor, Tensor]:
        """Half of the sources are brighter or duller, more or less colourful, than they were."""
        rng = self.rng
        if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
            return torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
        chroma = rng.uniform(0.6, 1.6)
        return self.affine(
            Style((), (rng.uniform(0.7, 1.2), chroma, chroma), (rng.uniform(-0.15, 0.15), 0, 0))
        )

    def affine(self, style: Style) -> tuple[Tensor, Tensor]:
        gain_C = torch.tensor(style.gain, dtype=torch.float32)[self.planes_C]
        offset_C = torch.tensor(style.offset, dtype=torch.float32) @ self.white_3C
        # Latents are centred: their mean goes through the map too.
        return gain_C.view(-1, 1, 1, 1), (offset_C + (gain_C - 1) * self.mean_C).view(-1, 1, 1, 1)

    def _coloured(
        self, picture: Tensor, styles: tuple[Style, ...], *, shift: bool = True
    ) -> Tensor:
        for style in styles:
            gain, offset = self.affine(style)
            picture = picture * gain + (offset if shift else 0)
        return picture

    def _grain(self, like: Tensor) -> Tensor:
        _, *shape = like.shape
        chosen = torch.randint(len(self.grain_NC), shape, generator=self.noise)
        return self.grain_NC[chosen].permute(3, 0, 1, 2)

    def _sigma(self, refine: bool) -> float:  # noqa: FBT001 - private
        rng = self.rng
        if refine:
            return rng.choice((*REFINE_SIGMAS, rng.uniform(0.1, 0.95)))
        if rng.random() < PURE_NOISE_SHARE:
            return 1.0
        uniform = rng.random()
        return max(0.05, SHIFT * uniform / (1 + (SHIFT - 1) * uniform))

    def _reference_noise(self) -> float:
        return self.rng.random() if self.rng.random() < NOISED_SHARE else 0.0

    def _noised(self, latents_BCFHW: Tensor, sigma: Tensor) -> Tensor:
        noise = torch.randn(latents_BCFHW.shape, generator=self.noise)
        return (1 - sigma) * latents_BCFHW + sigma * noise / self.amplitude_C.view(-1, 1, 1, 1)


def amplitude(codec: Codec) -> Tensor:
    """Deviation of each normalised channel."""
    return AMPLITUDE * (codec.energy_C / codec.energy_C.max()) ** EXPONENT


def importance(codec: Codec) -> Tensor:
    """How much an error of one deviation in a channel counts; 1 on average."""
    return codec.energy_C / codec.energy_C.mean()


def _flat_colours(codec: Codec) -> Tensor:
    """Raw latents of pictures that are 1 in one plane and 0 in the others, 3 x C."""
    rgb = torch.linalg.inv(YCC).T
    flat = rgb.view(3, 1, 3, 1, 1).expand(-1, 9, -1, 32, 32)
    return torch.stack([codec.encode(frames)[:, 1, 0, 0] for frames in flat])


def _grain(codec: Codec, noise: torch.Generator) -> Tensor:
    """Normalised latents of grain on grey, without the mean, N x C."""
    cells = 32 // GRAIN_CELL
    grain = torch.randn(8 // GRAIN_HOLD * 2, 1, cells * 32, cells * 32, generator=noise)
    grain = grain.repeat_interleave(GRAIN_HOLD, 0)[-9:].expand(-1, 3, -1, -1)
    grain = grain.repeat_interleave(GRAIN_CELL, 2).repeat_interleave(GRAIN_CELL, 3)
    latents = codec.encode(GRAIN_DEVIATION * grain)[:, -1].flatten(1).T
    return (latents / codec.std_C)[:GRAIN_BANK]


def _tokens(latents_BCFHW: Tensor) -> Tensor:
    return latents_BCFHW.flatten(2).transpose(1, 2)
