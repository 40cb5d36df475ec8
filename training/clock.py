"""What the transformer knows of the noise level: functions of sigma, fitted by least squares.

The timestep's sinusoids go through random features and a linear layer to the embedding, which the
output layer sees and from which a second linear layer makes what modulates the blocks. The random
features are drawn once; both linear layers are solved for.

    K  knots, values of sigma at which functions are fitted     D  width
"""

from collections.abc import Sequence

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2AdaLayerNormSingle
from torch import Tensor

from training.solve import ridge

# Rows of the modulation, in the order of diffusers' class.
SHIFT, SCALE, SHIFT_FF, SCALE_FF = 0, 1, 3, 4
FASTEST = 0.25
RIDGE = 1e-9


def knots() -> Tensor:
    """Noise levels, denser near 0, where a reference's are."""
    near_zero = torch.logspace(-4, 0, 400, dtype=torch.float64)
    return torch.cat([torch.zeros(40, dtype=torch.float64), near_zero, torch.linspace(0, 1, 800)])


@torch.no_grad()
def fit_clock(
    clock: LTX2AdaLayerNormSingle,
    embedded_KD: Tensor,
    basis: slice,
    modulations: Sequence[tuple[int, slice | int, Tensor]],
) -> None:
    """Make the embedding `embedded_KD` at the knots, and the modulations from it.

    Args:
        clock: The layer to set.
        embedded_KD: The embedding wanted; its dimensions in `basis` are replaced by bumps, out of
            which modulations are made.
        basis: Those dimensions.
        modulations: Rows and dimensions of the modulation, and their values at the knots; all
            others are zero.
    """
    sigmas_K = knots()
    embedder = clock.emb.timestep_embedder
    _draw_features(embedder.linear_1)
    embedded_KD = embedded_KD.clone()
    embedded_KD[:, basis] = _bumps(sigmas_K, basis.stop - basis.start)
    waves = clock.emb.time_proj((1000 * sigmas_K).float())
    features = torch.nn.functional.silu(embedder.linear_1(waves)).double()
    _solve(embedder.linear_2, features, embedded_KD)
    told = torch.nn.functional.silu(embedder.linear_2(features.float())).double()
    wanted = torch.zeros(len(sigmas_K), clock.num_mod_params, embedded_KD.shape[1])
    for row, dims, values in modulations:
        wanted[:, row, dims] = values.float()
    _solve(clock.linear, told, wanted.flatten(1).double())


def _draw_features(layer: torch.nn.Linear) -> None:
    """Random ridges in sigma; the sinusoids that turn fastest are left out."""
    count = layer.in_features // 2
    frequencies = 10_000.0 ** -(torch.arange(count) / count)
    weight = torch.randn(layer.weight.shape) * (frequencies < FASTEST).repeat(2)
    layer.weight.copy_(weight / weight.square().sum(1, keepdim=True).sqrt())
    layer.bias.copy_(0.5 * torch.randn(layer.bias.shape))


def _bumps(sigmas_K: Tensor, count: int) -> Tensor:
    """Smooth steps, evenly spread over the logarithm of sigma."""
    places = torch.linspace(-6, 0.5, count, dtype=torch.float64)
    return 2 * torch.tanh(1.5 * ((sigmas_K[:, None] + 0.002).log() - places))


def _solve(layer: torch.nn.Linear, inputs: Tensor, wanted: Tensor) -> None:
    ones = torch.ones(len(inputs), 1, dtype=inputs.dtype)
    solved = ridge(torch.cat([inputs, ones], 1), wanted, RIDGE)
    layer.weight.copy_(solved[:-1].T)
    layer.bias.copy_(solved[-1])
