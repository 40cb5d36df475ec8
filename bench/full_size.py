"""LTX-2 19B by its published configuration with random weights, made where it is needed.

What a generation costs depends on shapes alone, so that its speed can be measured without 77 GB of
files. `trim` leaves out layers, not width: a model for trying the measurement on a small machine.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel, LTX2TextConnectors, LTX2Vocoder
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from rotoscope.generation.loras import Delta, Lora, LoraFile
from rotoscope.generation.memory import Footprint
from rotoscope.generation.mini.make import DATA
from rotoscope.generation.models import Models
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.placement import Placement
from rotoscope.generation.weights import CHECKPOINTS

LAYERS, TEXT_LAYERS = 48, 48
DISTILLED_RANK, STYLE_RANK = 384, 32


def make_transformer(layers: int = LAYERS) -> LTX2VideoTransformer3DModel:
    """18.9 billion parameters; the classes' own defaults are LTX-2 19B's but for the rope."""
    return LTX2VideoTransformer3DModel(rope_type="split", num_layers=layers)


def make_text_encoder(layers: int = TEXT_LAYERS) -> Gemma3ForConditionalGeneration:
    """Gemma 3 12B; of its vision tower, which no prompt passes, one layer."""
    text = Gemma3TextConfig(
        hidden_size=3840,
        intermediate_size=15360,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=1024,
        vocab_size=262_208,
    )
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=SiglipVisionConfig(num_hidden_layers=1))
    )


def make_codec(layers: int = LAYERS) -> AutoencoderKLLTX2Video:
    """1.2 billion parameters; the published depths, or at most `layers` in each block."""
    depths = {"layers_per_block": (4, 6, 6, 2, 2), "decoder_layers_per_block": (5, 5, 5, 5)}
    return AutoencoderKLLTX2Video(
        **{name: tuple(min(depth, layers) for depth in kept) for name, kept in depths.items()}
    )


def make_models(device: torch.device, *, trim: int = LAYERS) -> Models:
    """The parts of the checkpoint on `device`, with at most `trim` layers of each tall part."""
    torch.manual_seed(0)
    parts: dict[str, Any] = {}
    dtype = torch.bfloat16

    def part(name: str, make: Callable[[], nn.Module]) -> Any:
        # As from_pretrained does: made in the type, which positions are computed around.
        with device:
            torch.set_default_dtype(dtype)
            try:
                module = make()
            finally:
                torch.set_default_dtype(torch.float32)
        parts[name] = module.eval().requires_grad_(requires_grad=False)
        return parts[name]

    text_layers = min(trim, TEXT_LAYERS)
    return Models(
        checkpoint=replace(CHECKPOINTS["ltx-2-19b-dev"], refine_lora=None),
        folder=Path(),
        device=device,
        tokenizer=AutoTokenizer.from_pretrained(DATA / "tokenizer", local_files_only=True),
        text_encoder=part("text_encoder", lambda: make_text_encoder(text_layers)),
        connectors=part(
            "connectors",
            lambda: LTX2TextConnectors(rope_type="split", text_proj_in_factor=text_layers + 1),
        ),
        transformer=part("transformer", lambda: make_transformer(min(trim, LAYERS))),
        vae=part("vae", lambda: make_codec(trim)),
        upsampler=part("latent_upsampler", LTX2LatentUpsamplerModel),
        audio_vae=part("audio_vae", AutoencoderKLLTX2Audio),
        vocoder=part("vocoder", LTX2Vocoder),
        placement=Placement(parts, device, "resident"),
    )


def footprint_of(models: Models) -> Footprint:
    """What these models take, as read_footprint tells it of files."""
    text, shape = models.text_encoder.config.text_config, models.transformer.config
    modules = {
        "transformer": models.transformer,
        "text_encoder": models.text_encoder,
        "connectors": models.connectors,
        "vae": models.vae,
        "latent_upsampler": models.upsampler,
        "audio_vae": models.audio_vae,
        "vocoder": models.vocoder,
    }
    return Footprint(
        weights={
            name: sum(tensor.nbytes for tensor in module.parameters())
            for name, module in modules.items()
        },
        number=models.transformer.dtype.itemsize,
        channels=shape.num_attention_heads * shape.attention_head_dim,
        text_numbers=models.checkpoint.text_tokens
        * text.hidden_size
        * (text.num_hidden_layers + 1),
    )


class FullSize(Pipeline):
    """The pipeline over models that came from no files."""

    def __init__(self, models: Models) -> None:
        super().__init__(models, "resident")

    @cached_property
    def footprint(self) -> Footprint:
        return footprint_of(self.models)

    @cached_property
    def distilling(self) -> list[Lora]:
        return [make_lora(self.models.transformer, "distilled", DISTILLED_RANK)]


def make_lora(model: nn.Module, name: str, rank: int, *, in_context: bool = False) -> Lora:
    """A random LoRA on all attention and feed-forward layers of `model`, of about no effect."""
    device = next(model.parameters()).device
    rng = torch.Generator(device).manual_seed(sum(map(ord, name)))

    def random(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, device=device, dtype=torch.bfloat16, generator=rng)
        return (drawn * 1e-3).cpu()

    deltas = {
        layer: Delta(random(rank, one.in_features), random(one.out_features, rank), 1.0)
        for layer, one in model.named_modules()
        if isinstance(one, nn.Linear) and "transformer_blocks" in layer
    }
    return Lora(LoraFile(Path(), name, 1.0, ""), deltas, (), in_context)
