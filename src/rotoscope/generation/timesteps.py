"""Embed each noise level once, and keep it once.

The transformer is told the noise level token by token, but few are different: the target's, the
reference's and 0. Diffusers' layers embed all of them anyway, and each block then adds its own
table to a modulation as long as the video. Here a block adds it to the few, and deals the sums out
to the tokens; where all tokens have one level, they share the sum.

    B  rows of the batch    N  tokens    V  different noise levels    P  modulations of a block
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor, nn

Embed = Callable[..., tuple[Tensor, Tensor]]
MODULATING = (
    "time_embed",
    "audio_time_embed",
    "av_cross_attn_video_scale_shift",
    "av_cross_attn_audio_scale_shift",
    "av_cross_attn_video_a2v_gate",
    "av_cross_attn_audio_v2a_gate",
)


class Levels:
    """The noise level that each video token has; the rows of a batch have the same."""

    places_N: Tensor
    """Of each token among the different levels."""

    def embed(
        self, embed: Embed, timestep_N: Tensor, *, batch_size: int, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """As `embed` does, but its modulation is B times V rows long instead of B times N.

        `timestep_N` is that of all rows, one after the other.
        """
        row_N = timestep_N[: len(timestep_N) // batch_size]
        values_V, places_N = torch.unique(row_N, return_inverse=True)
        modulation, embedded = embed(values_V, batch_size=batch_size, **options)
        if len(row_N) > 1:
            self.places_N = places_N
        return modulation.repeat(batch_size, 1), embedded[places_N].repeat(batch_size, 1)

    def modulation(self, table_PC: Tensor, embedded_BVC: Tensor, _rows: int) -> tuple[Tensor, ...]:
        """The modulations of a block, each for B rows and N tokens, or 1 if all are alike."""
        rows, levels, _ = embedded_BVC.shape
        sums_BVPC = table_PC + embedded_BVC.view(rows, levels, *table_PC.shape)
        dealt = sums_BVPC if levels == 1 else sums_BVPC[:, self.places_N]
        return tuple(dealt.unbind(dim=2))


@contextmanager
def levels_once(transformer: LTX2VideoTransformer3DModel) -> Iterator[None]:
    """Within this context `transformer` embeds different noise levels only."""
    levels = Levels()
    with ExitStack() as stack:
        for layer in (getattr(transformer, name) for name in MODULATING):
            stack.enter_context(replaced(layer, "forward", partial(levels.embed, layer.forward)))
        for block in transformer.transformer_blocks:
            stack.enter_context(replaced(block, "get_mod_params", levels.modulation))
        yield


@contextmanager
def replaced(module: nn.Module, name: str, value: object) -> Iterator[None]:
    """Within this context `module.name` is `value`, which is not a module or a parameter."""
    own = {name: vars(module)[name]} if name in vars(module) else {}
    setattr(module, name, value)
    try:
        yield
    finally:
        delattr(module, name)
        vars(module).update(own)
