"""Pack what was fitted into the data that ships with the package."""

from pathlib import Path

from torch import Tensor

from rotoscope.generation.mini.codec import Codec
from rotoscope.generation.mini.packed import save_packed
from training.base import Base
from training.pool import read_pool
from training.upsampler import fit_upsampler

# What nothing reads: these answers are never added to a token.
UNUSED = (
    *(f"transformer_blocks.{block}.{name}" for block in (1, 2) for name in ("attn1.", "attn2.")),
    "audio_to_video_attn",
    "video_to_audio_attn",
    "av_cross_attn",
    # The output layer of the language model is its embedding again.
    "lm_head",
    "vision_tower",
    "multi_modal_projector",
)


def pack(fitted: Path, codec_path: Path, pool: Path, packed: Path) -> None:
    """Write codec, upsampler, base model and tokenizer; the adapters are fit_loras.py's."""
    packed.mkdir(parents=True, exist_ok=True)
    codec = Codec.load(codec_path)
    codec.save(packed / "codec.safetensors")
    upsampler = fit_upsampler(read_pool(pool), codec.amplitude_C)
    save_packed({"weight": upsampler.half()}, packed / "upsampler.safetensors")
    base = Base()
    base.load(fitted / "base.safetensors")
    weights = {name: _small(name, value) for name, value in base.state_dict().items()}
    kept = {name: value for name, value in weights.items() if not _unused(name)}
    save_packed(kept, packed / "base.safetensors")
    base.tokenizer.save_pretrained(packed / "tokenizer")


def _small(name: str, tensor: Tensor) -> Tensor:
    # Large terms cancel in the clock.
    return tensor if "time_embed" in name else tensor.half()


def _unused(name: str) -> bool:
    return any(part in name for part in UNUSED)
