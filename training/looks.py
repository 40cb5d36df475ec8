"""Looks that style LoRAs learn: functions of frames, in [-1, 1], T x C x H x W.

Each is applied to real clips to make the pairs that a LoRA is fitted to. T frames, C colours.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rotoscope.generation.mini.codec import YCC

Look = Callable[[Tensor], Tensor]
Colour = tuple[float, float, float]

LEVELS = 4
# Colours from the darkest to the lightest, evenly spaced over luma.
PRINT: tuple[Colour, ...] = ((-0.92, -0.72, -0.38), (-0.55, -0.15, 0.35), (0.85, 0.93, 0.98))
HEAT: tuple[Colour, ...] = (
    (-0.95, -0.95, -0.5),
    (-0.1, -0.95, 0.3),
    (0.9, -0.5, -0.6),
    (1.0, 0.6, -0.8),
    (1.0, 1.0, 0.6),
)


def comic(frames: Tensor) -> Tensor:
    """Few flat tones, twice the colour, dark outlines."""
    luma, chroma = _split(_soft(frames))
    steps = ((luma + 1) / 2 * (LEVELS - 1)).round() / (LEVELS - 1) * 2 - 1
    mixed = 0.4 * luma + 0.6 * steps
    return _joined(1.25 * mixed + 0.1 - _outlines(luma), 2.1 * chroma)


def cyanotype(frames: Tensor) -> Tensor:
    """A print in Prussian blue on paper."""
    return _ramp(_split(frames)[0], PRINT)


def vintage(frames: Tensor) -> Tensor:
    """Faded film: lifted blacks, less contrast and colour, yellow lights and red darks."""
    luma, chroma = _split(frames)
    faded = _joined(0.62 * luma + 0.12, 0.55 * chroma)
    cast = torch.tensor([0.16, 0.03, -0.22]).view(1, 3, 1, 1)
    return (faded + cast * (1 - 0.3 * luma)).clamp(-1, 1)


def thermal(frames: Tensor) -> Tensor:
    """What is bright is hot: from dark blue over red to pale yellow."""
    return _ramp(_split(_soft(frames))[0], HEAT)


LOOKS: dict[str, Look] = {
    "comic": comic,
    "cyanotype": cyanotype,
    "vintage": vintage,
    "thermal": thermal,
}


def softened(frames: Tensor, factor: int) -> Tensor:
    """As if it had been kept at 1/`factor` of its size; what the detailer mends."""
    small = avg_pool2d(frames, factor)
    return torch.nn.functional.interpolate(
        small, scale_factor=factor, mode="bilinear", align_corners=False
    )


def _split(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Luma, T x 1 x H x W, and what is left of each colour without it."""
    luma = torch.einsum("j, t j h w -> t h w", YCC[0], frames)[:, None]
    return luma, frames - luma


def _joined(luma: Tensor, chroma: Tensor) -> Tensor:
    return (luma + chroma).clamp(-1, 1)


def _soft(frames: Tensor) -> Tensor:
    return avg_pool2d(frames, 3, 1, 1, count_include_pad=False)


def _outlines(luma: Tensor) -> Tensor:
    """0 where it is flat, towards 1.4 where brightness changes."""
    wide = avg_pool2d(luma, 5, 1, 2, count_include_pad=False)
    return (4 * (wide - luma).clamp(min=0)).clamp(max=1.4)


def _ramp(luma: Tensor, colours: tuple[Colour, ...]) -> Tensor:
    """Colours between the given ones, by luma."""
    table = torch.tensor(colours)
    place = ((luma[:, 0] + 1) / 2).clamp(0, 1) * (len(colours) - 1)
    below = place.floor().clamp(max=len(colours) - 2)
    share = (place - below)[..., None]
    first, second = table[below.long()], table[below.long() + 1]
    return (first + share * (second - first)).permute(0, 3, 1, 2)


def outlined(frames: Tensor, edges: Tensor) -> Tensor:
    """Soft colours inside dark outlines; `edges` are white on black."""
    inside = avg_pool2d(frames, 9, 1, 4, count_include_pad=False)
    line = (avg_pool2d((edges + 1) / 2, 3, 1, 1) * 2.5).clamp(max=1)
    return inside - line * (inside + 0.9).clamp(min=0)
