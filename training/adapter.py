"""Low-rank changes of the base model's layers, gathered and written as a LoRA.

R  rank    I, O  inputs and outputs of a layer    C  latent channels    U  units
"""

from pathlib import Path
from random import Random

import torch
from diffusers import LTX2VideoTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from rotoscope.generation.mini.codec import CHANNELS
from rotoscope.generation.mini.networks import WIDTH
from rotoscope.generation.models import Models
from rotoscope.generation.text import encode_prompts
from training.network import CONSTANT, CONSTANT_DIMS, COPIED, TOKEN
from training.solve import ridge
from training.start import COPY
from training.styles import draw

VALUES = slice(COPY.start, COPY.start + CHANNELS)
# What a layer sees of the constant.
STEADY = CONSTANT / TOKEN


class Adapter:
    """Changes by layer: W becomes W + scale * up @ down."""

    def __init__(self) -> None:
        self._parts: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def add(self, layer: str, down_RI: Tensor, up_OR: Tensor) -> None:
        self._parts.setdefault(layer, []).append((down_RI, up_OR))

    def pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """One pair (down, up) for each layer."""
        return {
            layer: (
                torch.cat([down for down, _ in parts]),
                torch.cat([up for _, up in parts], 1),
            )
            for layer, parts in self._parts.items()
        }

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """In half precision, under the published names of keys."""
        tensors = {
            f"diffusion_model.{layer}.{half}.weight": tensor.half().contiguous()
            for layer, pair in self.pairs().items()
            for half, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata=metadata)

    def map_copied(self, down_RC: Tensor, up_CR: Tensor) -> None:
        """Add `up @ down` times what block 0 copies to it."""
        down = torch.zeros(len(down_RC), WIDTH)
        down[:, VALUES] = down_RC
        self.add("transformer_blocks.0.attn1.to_out.0", down, _copied(TOKEN * up_CR))

    def shift_copied(self, always_I: Tensor, offset_C: Tensor) -> None:
        """Add `offset`; `always` from `read_always`."""
        layer = "transformer_blocks.0.attn2.to_out.0"
        self.add(layer, always_I[None], _copied(offset_C[:, None]))

    def add_units(
        self, block: int, rows: Tensor, inputs_UD: Tensor, outputs_DU: Tensor, units: int
    ) -> None:
        """Put `outputs @ gelu(inputs @ token)` into the unused units `rows` of a block."""
        place = torch.zeros(units, len(rows))
        place[rows, torch.arange(len(rows))] = 1
        name = f"transformer_blocks.{block}.ff.net"
        self.add(f"{name}.0.proj", inputs_UD, place)
        self.add(f"{name}.2", place.T, outputs_DU)


def reading_constant(bias_U: Tensor) -> Tensor:
    """Weights of a layer, U x D, that add `bias` whatever the token."""
    weights = torch.zeros(len(bias_U), WIDTH)
    dims = torch.arange(CONSTANT_DIMS.start, CONSTANT_DIMS.stop)
    signs = torch.ones(len(dims))
    signs[::2] = -1
    weights[:, dims] = bias_U[:, None] * signs / (len(dims) * STEADY)
    return weights


def unused_units(model: LTX2VideoTransformer3DModel, block: int) -> Tensor:
    """The feed-forward units of a block that the base does not use."""
    layer = model.transformer_blocks[block].ff.net[0].proj
    unused: Tensor = (layer.weight == 0).all(1) & (layer.bias == 0)
    return unused.nonzero().flatten()


@torch.no_grad()
def read_always(models: Models, prompts: int = 1000) -> Tensor:
    """Weights on the values of block 0's cross-attention that give 1 for any prompt."""
    model = models.transformer
    attention = model.transformer_blocks[0].attn2
    rng, seen = Random(1), []
    hook = attention.to_out[0].register_forward_pre_hook(lambda _, x: seen.append(x[0][:, 0]))
    for _ in range(prompts // 100):
        text = encode_prompts(models, [draw(rng).prompt for _ in range(100)])
        embedded = model.caption_projection(text.video_BLD)
        attention(torch.zeros(100, 1, WIDTH), encoder_hidden_states=embedded)
    hook.remove()
    values = torch.cat(seen).double()
    always = ridge(values, torch.ones(len(values), 1, dtype=torch.float64), 1e-4)[:, 0]
    error = (values @ always - 1).square().mean().sqrt()
    print("constant read, error", round(float(error), 4))  # noqa: T201 - a step's report
    return always.float()


def _copied(up_CR: Tensor) -> Tensor:
    up = torch.zeros(WIDTH, up_CR.shape[1])
    up[COPIED] = up_CR
    return up
