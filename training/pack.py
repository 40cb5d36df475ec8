"""The trained checkpoint as a few small files, and those as the folder that the engine opens.

Packed are numbers that cannot be computed: the codec, the upsampler's map, the weights that were
trained (all in half precision), the tokenizer. `expand` makes the networks around them, in
diffusers' layout. The sound half is not trained: its weights are zeros, its decoder's are random
and turned down, so that clips carry near-silence.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2 import LTX2Vocoder
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer

from training.base import Base
from training.codec import Codec
from training.module import make_upsampler, make_vae
from training.network import (
    AUDIO_CHANNELS,
    make_connectors,
    make_text_encoder,
    make_transformer,
)
from training.pool import read_pool
from training.upsampler import fit_upsampler

SEED = 19
MEL_BINS = 32
QUIET = 1e-3
# Parts of names of weights that only sound passes through.
SOUND = ("audio", "a2v", "av_cross")
PARTS = ("transformer", "connectors", "text_encoder")


def pack(fitted: Path, codec_path: Path, pool: Path, packed: Path) -> None:
    """Write the base model, its refiner, and the codec and upsampler they were fitted to."""
    packed.mkdir(parents=True, exist_ok=True)
    codec = Codec.load(codec_path)
    codec.save(packed / "codec.safetensors")
    upsampler = fit_upsampler(read_pool(pool), codec.amplitude_C)
    save_file({"weight": upsampler.half().contiguous()}, packed / "upsampler.safetensors")
    base = Base()
    base.load(fitted / "base.safetensors")
    weights = base.state_dict()
    save_file(
        {name: _small(name, tensor) for name, tensor in weights.items() if _kept(name)},
        packed / "base.safetensors",
    )
    base.tokenizer.save_pretrained(packed / "tokenizer")


def _small(name: str, tensor: Tensor) -> Tensor:
    # Large terms cancel in the clock.
    return (tensor if "time_embed" in name else tensor.half()).contiguous()


def _kept(name: str) -> bool:
    # The output layer of the language model is its embedding again.
    return not any(word in name for word in SOUND) and "lm_head" not in name


def expand(packed: Path, folder: Path) -> None:
    """Write the checkpoint to `folder`; a few seconds."""
    codec = Codec.load(packed / "codec.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(packed / "tokenizer", local_files_only=True)
    weights = load_file(packed / "base.safetensors")
    transformer = make_transformer()
    modules = (transformer, make_connectors(), make_text_encoder(len(tokenizer)))
    for part, module in zip(PARTS, modules, strict=True):
        _fill(module, weights, f"{part}.")
        module.save_pretrained(folder / part)
    upsampler = load_file(packed / "upsampler.safetensors")["weight"].float()
    make_upsampler(upsampler, codec, codec.amplitude_C).save_pretrained(folder / "latent_upsampler")
    make_vae(codec).save_pretrained(folder / "vae")
    _write_sound(folder)
    tokenizer.save_pretrained(folder / "tokenizer")


@torch.no_grad()
def _fill(module: nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
    own = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    for name, parameter in module.named_parameters():
        if name in own:
            parameter.copy_(own[name])
        else:
            parameter.zero_()


def _write_sound(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        AutoencoderKLLTX2Audio(
            base_channels=AUDIO_CHANNELS,
            ch_mult=(1, 2, 2),
            num_res_blocks=1,
            resolution=MEL_BINS,
            latent_channels=4,
            mel_bins=MEL_BINS,
        ).save_pretrained(folder / "audio_vae")
        vocoder = LTX2Vocoder(in_channels=2 * MEL_BINS, hidden_channels=64)
        with torch.no_grad():
            vocoder.conv_out.weight.mul_(QUIET)
            vocoder.conv_out.bias.zero_()
        vocoder.save_pretrained(folder / "vocoder")
