"""Spatio-temporal guidance (Hyung et al., 2024): a row of the batch without self-attention.

In one block of the transformer the values of that row go through as they are, as if each token
attended to itself alone. What such a model guesses is worse in a way that guidance can lead away
from. The block's attention can do it as diffusers' classes provide; checkpoints of LTX-2 19B come
with that turned off, in which case asking for it would silently change nothing.
"""

from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.models.transformers.transformer_ltx2 import LTX2PerturbedAttnProcessor


def perturb_self_attention(transformer: LTX2VideoTransformer3DModel, block: int) -> None:
    """Let `block` skip the self-attention of rows that are asked for; others stay as they were."""
    layer = transformer.transformer_blocks[block]
    if not layer.perturbed_attn:
        layer.perturbed_attn = True
        for attention in (layer.attn1, layer.audio_attn1):
            attention.set_processor(LTX2PerturbedAttnProcessor())


def perturbed_rows(
    transformer: LTX2VideoTransformer3DModel, block: int | None, rows: int, device: torch.device
) -> dict[str, Any]:
    """What the transformer is told, so that of `rows` the last one is perturbed; None: none is."""
    if block is None:
        return {}
    kept_B = torch.ones(rows, dtype=transformer.dtype, device=device)
    kept_B[-1] = 0
    return {"spatio_temporal_guidance_blocks": [block], "perturbation_mask": kept_B}
