"""What the model is given to work on: noise, a first frame to keep, a reference to follow.

Dimension key; every tensor name in this package ends in its shape:

    B  batch, 1 here             F  latent frames, (frames - 1) / 8 + 1
    C  latent channels           H, W  latent height and width, pixels / 32
    N  tokens, F * H * W         X  axes of a position: seconds, height, width
    L  audio latents             E  the two ends of a token along an axis
    D  audio channels
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf
from einops import rearrange
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from rotoscope.generation.codec import encode_pixels
from rotoscope.generation.models import Models
from rotoscope.media.clip import Size

Image = npt.NDArray[np.uint8]

# LTX-2 was trained on first frames from compressed video; x264's crf 33 matches that.
FIRST_FRAME_CRF = 33


@dataclass(frozen=True, slots=True)
class Tokens:
    """Video tokens in flight: the target's, then the reference's.

    Mask 1 is free to change; mask 0 stays as in `clean`; between, a token is noised by that share
    of sigma and pulled back to `clean` by the rest.
    """

    noisy_BNC: Tensor
    clean_BNC: Tensor
    mask_BN: Tensor
    coords_BXNE: Tensor
    """Where and when each token is, in pixels and seconds."""
    latent_shape: tuple[int, int, int]
    """F, H and W of the target."""


def start_tokens(models: Models, latents_BCFHW: Tensor, fps: float) -> Tokens:
    """The target's tokens, all free, starting from `latents_BCFHW` (zeros: from noise alone)."""
    clean_BNC = rearrange(latents_BCFHW, "b c f h w -> b (f h w) c")
    _, _, *shape = latents_BCFHW.shape
    return Tokens(
        noisy_BNC=clean_BNC,
        clean_BNC=clean_BNC,
        mask_BN=clean_BNC.new_ones(clean_BNC.shape[:2]),
        coords_BXNE=_coords(models, latents_BCFHW, fps),
        latent_shape=(shape[0], shape[1], shape[2]),
    )


def keep_first_frame(tokens: Tokens, image_BCFHW: Tensor) -> Tokens:
    """Put an image's latents in place of the first latent frame, and keep them."""
    image_BNC = rearrange(image_BCFHW, "b c f h w -> b (f h w) c")
    count = image_BNC.shape[1]
    mask_BN = tokens.mask_BN.clone()
    mask_BN[:, :count] = 0
    clean_BNC = torch.cat([image_BNC, tokens.clean_BNC[:, count:]], dim=1)
    return replace(tokens, clean_BNC=clean_BNC, noisy_BNC=clean_BNC, mask_BN=mask_BN)


def append_reference(  # noqa: PLR0913 - the last three by name
    models: Models,
    tokens: Tokens,
    reference_BCFHW: Tensor,
    *,
    strength: float,
    downscale: int,
    fps: float,
) -> Tokens:
    """Append the reference's tokens after the target's, at the target's positions.

    The layout IC-LoRAs are trained on. At strength 1 the reference is kept as it is; below, it is
    noised to (1 - strength) * sigma. A token of a smaller reference covers more of the target.
    """
    reference_BNC = rearrange(reference_BCFHW, "b c f h w -> b (f h w) c")
    coords_BXNE = _coords(models, reference_BCFHW, fps)
    coords_BXNE[:, 1:] *= downscale
    mask_BN = reference_BNC.new_full(reference_BNC.shape[:2], 1 - strength)
    clean_BNC = torch.cat([tokens.clean_BNC, reference_BNC], dim=1)
    return replace(
        tokens,
        clean_BNC=clean_BNC,
        noisy_BNC=clean_BNC,
        mask_BN=torch.cat([tokens.mask_BN, mask_BN], dim=1),
        coords_BXNE=torch.cat([tokens.coords_BXNE, coords_BXNE], dim=2),
    )


def add_noise(tokens: Tokens, sigma: float, rng: Generator) -> Tokens:
    """Noise each token to its share of `sigma`."""
    noise_BNC = make_noise(tokens.clean_BNC, rng)
    return replace(
        tokens,
        noisy_BNC=torch.lerp(tokens.clean_BNC, noise_BNC, sigma * tokens.mask_BN[..., None]),
    )


def make_noise(like: Tensor, rng: Generator) -> Tensor:
    """Made on the CPU, so that a seed means the same on every device."""
    return torch.randn(like.shape, generator=rng, dtype=torch.float32).to(like.device)


def target_latents(tokens: Tokens) -> Tensor:
    """The target's latents, without the reference, 1 x C x F x H x W."""
    frames, height, width = tokens.latent_shape
    target_BNC = tokens.noisy_BNC[:, : frames * height * width]
    return rearrange(target_BNC, "b (f h w) c -> b c f h w", f=frames, h=height)


def encode_first_frame(models: Models, image_HWC: Image, size: Size) -> Tensor:
    """The latents of an image brought to `size`, as degraded as in training."""
    degraded_HWC = apply_image_conditioning_crf(image_HWC, FIRST_FRAME_CRF)
    pixels_BCHW = rearrange(torch.from_numpy(degraded_HWC), "h w c -> 1 c h w")
    # Bilinear without antialiasing, as in training.
    pixels_BCHW = interpolate(
        pixels_BCHW.to(models.device, torch.float32),
        size=(size.height, size.width),
        mode="bilinear",
    )
    return encode_pixels(models, rearrange(pixels_BCHW / 127.5 - 1, "b c h w -> b c 1 h w"))


def _coords(models: Models, latents_BCFHW: Tensor, fps: float) -> Tensor:
    batch, _, frames, height, width = latents_BCFHW.shape
    coords_BXNE: Tensor = models.transformer.rope.prepare_video_coords(
        batch, frames, height, width, latents_BCFHW.device, fps=fps
    )
    return coords_BXNE
