"""Make the `mini` checkpoint out of the data that ships: a folder in diffusers' layout.

It is written once and then opened like any other checkpoint. What is packed are the numbers that
cannot be computed: the codec, the upsampler's map, the transformer with its text side, the
tokenizer. Its geometry is the real one: 32 x 32 x 8 pixels a latent, 25 audio latents a
second, 24 kHz stereo.
"""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from rotoscope.generation.mini.codec import Codec
from rotoscope.generation.mini.linear import make_upsampler, make_vae
from rotoscope.generation.mini.networks import (
    make_connectors,
    make_text_encoder,
    make_transformer,
)
from rotoscope.generation.mini.packed import load_packed
from rotoscope.generation.mini.sound import make_audio_vae, make_vocoder

# Of queries and keys that no weight makes: steady, and loud enough for a LoRA to look sharply.
IDLE_NORM, IDLE_NORMS = 12.0, ("attn1.norm_q.weight", "attn1.norm_k.weight")

HOLE = 1 << 16

DATA = Path(__file__).parents[2] / "data" / "mini"


def make_mini(folder: Path) -> Path:
    """Write the checkpoint to `folder`, whole or not at all; a few seconds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".mini-") as temporary:
        draft = Path(temporary) / "mini"
        expand(DATA, draft)
        for file in draft.rglob("*.safetensors"):
            leave_holes(file)
        try:
            draft.rename(folder)
        except OSError:
            # Another process has made the same files meanwhile.
            if not folder.is_dir():
                raise
    return folder


def expand(packed: Path, folder: Path) -> None:
    """Write the parts that `packed` describes below `folder`."""
    codec = Codec.load(packed / "codec.safetensors")
    upsampler = load_packed(packed / "upsampler.safetensors")["weight"]
    make_vae(codec).save_pretrained(folder / "vae")
    make_upsampler(upsampler, codec).save_pretrained(folder / "latent_upsampler")
    make_audio_vae().save_pretrained(folder / "audio_vae")
    make_vocoder().save_pretrained(folder / "vocoder")
    tokenizer = AutoTokenizer.from_pretrained(packed / "tokenizer", local_files_only=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    weights = load_packed(packed / "base.safetensors")
    for part, module in (
        ("transformer", make_transformer()),
        ("connectors", make_connectors()),
        ("text_encoder", make_text_encoder(len(tokenizer))),
    ):
        _fill(module, weights, f"{part}.")
        module.save_pretrained(folder / part)


def leave_holes(path: Path) -> None:
    """Write a file anew with holes for its zeros, which then take no space on most disks."""
    sparse = path.with_suffix(".sparse")
    with path.open("rb") as whole, sparse.open("wb") as holed:
        while chunk := whole.read(HOLE):
            if chunk.count(0) == len(chunk):
                holed.seek(len(chunk), os.SEEK_CUR)
            else:
                holed.write(chunk)
        holed.truncate(whole.tell())
    sparse.replace(path)


@torch.no_grad()
def _fill(module: nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
    """Set every parameter.

    One that is not packed, such as a second name of another, is zero; a norm of attention that the
    base does not use lets LoRAs use it.
    """
    for name, parameter in module.named_parameters():
        value = weights.get(prefix + name)
        if value is None:
            parameter.fill_(IDLE_NORM if name.endswith(IDLE_NORMS) else 0)
        else:
            parameter.copy_(value)
