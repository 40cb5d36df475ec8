"""Latents of half the size to latents of the full size: a linear least-squares fit.

Each latent and its eight neighbours give the four that take its place; diffusers' upsampler is a
network, and module.py writes this map into it.

    B  batch    C  latent channels    F  latent frames    H, W  of the half-size latents
"""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import conv2d, pixel_shuffle, unfold

from rotoscope.generation.mini.codec import CHANNELS
from training.clips import Shape

RIDGE = 1e-3


def fit_upsampler(pool: dict[Shape, dict[str, Tensor]], amplitude_C: Tensor) -> Tensor:
    """The map as a convolution, 4C x C x 3 x 3, in units of each channel's deviation.

    Zeros stand beyond the border, as in the network.
    """
    width = CHANNELS * 9
    squares, products = torch.zeros(width, width), torch.zeros(width, 4 * CHANNELS)
    scale = amplitude_C.view(-1, 1, 1, 1)
    for latents in pool.values():
        for half, full in zip(latents.get("half", ()), latents["plain"], strict=False):
            around = unfold((half.float() / scale).transpose(0, 1), 3, padding=1)
            around = rearrange(around, "f c n -> (f n) c")
            wanted = rearrange(full.float() / scale, "c f (h y) (w x) -> (f h w) (c y x)", y=2, x=2)
            squares += around.T @ around
            products += around.T @ wanted
    ridge = RIDGE * squares.diagonal().mean()
    solved = torch.linalg.solve(squares + ridge * torch.eye(width), products)
    weight: Tensor = rearrange(solved, "(c y x) o -> o c y x", y=3, x=3)
    return weight.contiguous()


def upsampled(latents_BCFHW: Tensor, weight: Tensor) -> Tensor:
    """In the units of the fit."""
    flat = rearrange(latents_BCFHW, "b c f h w -> (b f) c h w")
    larger = pixel_shuffle(conv2d(flat, weight, padding=1), 2)
    whole: Tensor = rearrange(larger, "(b f) c h w -> b c f h w", b=len(latents_BCFHW))
    return whole
