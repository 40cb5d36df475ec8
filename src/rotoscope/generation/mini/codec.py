"""A linear video codec of LTX-2's geometry: 32 x 32 pixels and 8 frames to 256 numbers.

Luma and the two chroma planes (BT.709) are coded apart: principal components of 32 x 32 patches,
then of those over eight frames. So grey, sepia, night or a negative are affine maps of latents.
The decoder is a least-squares fit from a latent and its eight neighbours, which softens the seams
between patches. All of it is data; module.py writes it into the weights of diffusers' class.

    G  groups of eight frames, latent frames     H, W  latent height and width
    S  spatial components of a patch             C  latent channels
    P  pixels of a patch, row by row             T  frames
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import pad

SIDE, STEP = 32, 8
CHANNELS = 256
# Spatial components of luma and each chroma plane in the encoder, then in the decoder; one more is
# the constant that keeps diffusers' class linear: 256 and 192 in all.
ENCODED = (175, 40, 40)
DECODED = (143, 24, 24)
YCC = torch.tensor([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]])
# How a normalised channel's deviation follows its own in pixels. At 0 all channels would drown in
# noise together; at 1 all but the first few always would.
EXPONENT = 0.5


@dataclass(frozen=True, slots=True)
class Codec:
    """The numbers of the codec; `planes_C`: which plane (0 luma, 1 blue, 2 red) a channel codes."""

    spatial_SP: Tensor
    temporal: Tensor
    """C x 8 x S: from the spatial components of eight frames to latents."""
    decoder: Tensor
    """8 x S' x C x 3 x 3: from latents to the decoder's components."""
    bias: Tensor
    """8 x S'"""
    mean_C: Tensor
    std_C: Tensor
    planes_C: Tensor
    energy_C: Tensor
    """Standard deviation of a channel in pixels, which says how much it matters."""

    @classmethod
    def load(cls, path: Path) -> "Codec":
        return cls(**{name: tensor.float() for name, tensor in load_file(path).items()})

    def save(self, path: Path) -> None:
        """In half precision, but for the statistics."""
        tensors = {name: getattr(self, name) for name in self.__slots__}
        small = {"spatial_SP", "temporal", "decoder", "bias"}
        save_file(
            {
                name: (tensor.half() if name in small else tensor).contiguous()
                for name, tensor in tensors.items()
            },
            path,
        )

    @property
    def amplitude_C(self) -> Tensor:  # noqa: N802 - a shape
        """Standard deviation of each normalised channel; their mean square is 1."""
        return amplitude(self.energy_C)

    def encode(self, frames_TCHW: Tensor) -> Tensor:
        """8m+1 frames to raw latents, C x G x H x W."""
        parts = spatial_components(frames_TCHW, self.spatial_SP)
        return torch.einsum("cts,ghwts->cghw", self.temporal, parts)

    def decode(self, latents_CGHW: Tensor) -> Tensor:
        """Raw latents to frames, T x C x H x W."""
        _, groups, height, width = latents_CGHW.shape
        padded = pad(latents_CGHW.transpose(0, 1), (1, 1, 1, 1), mode="replicate")
        weight = self.decoder.flatten(0, 1)
        parts = torch.nn.functional.conv2d(padded, weight, self.bias.flatten())
        parts = parts.view(groups, STEP, -1, height, width)
        kept_SP, planes = decoded_basis(self.spatial_SP)
        pixels = []
        for plane in range(3):
            chosen = planes == plane
            pixels.append(torch.einsum("gtshw,sp->gtphw", parts[:, :, chosen], kept_SP[chosen]))
        ycc = torch.stack(pixels, 2).flatten(0, 1)[STEP - 1 :]
        rgb = torch.einsum("ij,tjphw->tiphw", torch.linalg.inv(YCC), ycc)
        frames: Tensor = rearrange(rgb, "t c (y x) h w -> t c (h y) (w x)", y=SIDE)
        return frames

    def normalize(self, latents: Tensor) -> Tensor:
        """Channels first, or after a batch dimension."""
        shape = (-1, *(1 for _ in range(3)))
        return (latents - self.mean_C.view(shape)) / self.std_C.view(shape)

    def denormalize(self, latents: Tensor) -> Tensor:
        shape = (-1, *(1 for _ in range(3)))
        return latents * self.std_C.view(shape) + self.mean_C.view(shape)


def amplitude(energy_C: Tensor) -> Tensor:
    """Standard deviation of normalised channels, from that in pixels; their mean square is 1."""
    wanted_C = energy_C**EXPONENT
    return wanted_C / wanted_C.square().mean().sqrt()


def plane_of(counts: tuple[int, int, int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(3), torch.tensor(counts))


def decoded_rows() -> list[int]:
    """Which of the encoder's components the decoder uses: the first of each plane."""
    starts = (0, ENCODED[0], ENCODED[0] + ENCODED[1])
    return [start + i for start, count in zip(starts, DECODED, strict=True) for i in range(count)]


def decoded_basis(spatial_SP: Tensor) -> tuple[Tensor, Tensor]:
    """The components that the decoder uses, and their planes."""
    return spatial_SP[decoded_rows()], plane_of(DECODED)


def patches(frames_TCHW: Tensor) -> Tensor:
    """Frames to luma and chroma patches in groups of eight, G x H x W x 8 x 3 x P.

    The first frame stands for eight, as LTX-2's causal codec has it.
    """
    ycc = torch.einsum("ij,tjhw->tihw", YCC, frames_TCHW)
    ycc = torch.cat([ycc[:1].expand(STEP - 1, -1, -1, -1), ycc])
    cut: Tensor = rearrange(ycc, "(g t) c (h y) (w x) -> g h w t c (y x)", t=STEP, y=SIDE, x=SIDE)
    return cut


def spatial_components(frames_TCHW: Tensor, spatial_SP: Tensor) -> Tensor:
    """G x H x W x 8 x S."""
    pixels = patches(frames_TCHW)
    bases = torch.split(spatial_SP, list(ENCODED))
    return torch.cat([pixels[..., plane, :] @ bases[plane].T for plane in range(3)], -1)
