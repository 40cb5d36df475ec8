"""Embed each noise level once.

The transformer is told the noise level token by token, but few are different: the target's, the
reference's and 0. Diffusers' layers embed all of them anyway, a fifth of mini's work.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2AdaLayerNormSingle
from torch import Tensor, nn

Embed = Callable[..., tuple[Tensor, Tensor]]


def share_timesteps(transformer: nn.Module) -> None:
    """Make every timestep layer of `transformer` embed the different values only."""
    for layer in transformer.modules():
        if isinstance(layer, LTX2AdaLayerNormSingle):
            layer.forward = partial(_embed_once, layer.forward)


def _embed_once(embed: Embed, timestep_N: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    values, places_N = torch.unique(timestep_N, return_inverse=True)
    modulation, embedded = embed(values, **options)
    return modulation[places_N], embedded[places_N]
