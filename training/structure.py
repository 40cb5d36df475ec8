"""Styles that change the structure of a picture, as maps of latents fitted to the pool.

N  tokens     C  latent channels     U  units     P  pixels of a patch
"""

import torch
from torch import Tensor
from torch.nn.functional import gelu

from rotoscope.generation.mini.codec import ENCODED, SIDE, Codec
from training.pool import Pool
from training.solve import ridge

RIDGE = 1e-4
GRID = 4
STRETCH = 8


def variant_map(pool: Pool, variant: str) -> tuple[Tensor, Tensor]:
    """The affine map of a token, C x C and C, that is nearest to `variant` of its picture."""
    plain, wanted = _tokens(pool, "plain"), _tokens(pool, variant)
    solved = ridge(
        torch.cat([plain, torch.ones(len(plain), 1)], 1).double(), wanted.double(), RIDGE
    )
    return solved[:-1].T.float(), solved[-1].float()


def line_units(pool: Pool, codec: Codec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Units that answer to lines in a patch, and the drawing made of them.

    Returns:
        Their inputs, U x C, and biases, U; what each draws, C x U; the empty paper, C.
    """
    slopes_UC = STRETCH * _slopes(codec)
    inputs_UC = torch.cat([slopes_UC, -slopes_UC])
    biases_U = torch.full((len(inputs_UC),), -0.3)
    plain, wanted = _tokens(pool, "plain"), _tokens(pool, "drawing")
    seen = gelu(plain @ inputs_UC.T + biases_U, approximate="tanh")
    solved = ridge(torch.cat([seen, torch.ones(len(seen), 1)], 1).double(), wanted.double(), RIDGE)
    return inputs_UC, biases_U, solved[:-1].T.float(), solved[-1].float()


def _tokens(pool: Pool, variant: str) -> Tensor:
    return torch.cat([one[variant].float().transpose(0, 1).flatten(1).T for one in pool.values()])


def _slopes(codec: Codec) -> Tensor:
    """Differences of luma across small steps at a grid of places, along four directions, U x C."""
    patch_CP = torch.einsum("cts,sp->cp", codec.temporal, _luma_rows(codec)) / 8
    patch = (patch_CP * codec.std_C[:, None]).unflatten(1, (SIDE, SIDE))
    smooth = torch.nn.functional.avg_pool2d(patch[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    places = range(GRID // 2, SIDE, GRID)
    rows = []
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        for y in places:
            for x in places:
                ahead = smooth[:, min(y + down, SIDE - 1), min(max(x + right, 0), SIDE - 1)]
                behind = smooth[:, max(y - down, 0), min(max(x - right, 0), SIDE - 1)]
                rows.append(ahead - behind)
    return torch.stack(rows)


def _luma_rows(codec: Codec) -> Tensor:
    """The spatial components with those of chroma left out."""
    rows = codec.spatial_SP.clone()
    rows[ENCODED[0] :] = 0
    return rows
