"""The shapes of mini's networks: LTX-2's classes, small.

A token's width holds the noisy latents, what attention copies from the reference, a constant, and
flags of what the prompt asks for.
"""

from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from rotoscope.generation.mini.codec import CHANNELS
from rotoscope.generation.mini.sound import AUDIO_CHANNELS

HEADS, HEAD_WIDTH, LAYERS = 9, 64, 3
WIDTH = HEADS * HEAD_WIDTH
AUDIO_HEAD_WIDTH = 16
AUDIO_WIDTH = HEADS * AUDIO_HEAD_WIDTH
TEXT_WIDTH, TEXT_LAYERS, TEXT_TOKENS = 64, 2, 128
REGISTERS = 32


def make_transformer() -> LTX2VideoTransformer3DModel:
    return LTX2VideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_WIDTH,
        cross_attention_dim=WIDTH,
        audio_in_channels=AUDIO_CHANNELS,
        audio_out_channels=AUDIO_CHANNELS,
        # The classes' rotary embeddings need as many audio heads as video heads.
        audio_num_attention_heads=HEADS,
        audio_attention_head_dim=AUDIO_HEAD_WIDTH,
        audio_cross_attention_dim=AUDIO_WIDTH,
        num_layers=LAYERS,
        caption_channels=TEXT_WIDTH,
        rope_type="split",
    )


def make_connectors() -> LTX2TextConnectors:
    heads = {"num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 1}
    heads["num_learnable_registers"] = REGISTERS
    return LTX2TextConnectors(
        caption_channels=TEXT_WIDTH,
        text_proj_in_factor=TEXT_LAYERS + 1,
        rope_type="split",
        **{f"video_connector_{name}": value for name, value in heads.items()},
        **{f"audio_connector_{name}": value for name, value in heads.items()},
    )


def make_text_encoder(words: int) -> Gemma3ForConditionalGeneration:
    """Random and frozen: its embeddings tell words apart, the connectors learn what they mean."""
    text = Gemma3TextConfig(
        vocab_size=words,
        hidden_size=TEXT_WIDTH,
        intermediate_size=128,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    encoder = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    )
    return encoder.eval().requires_grad_(requires_grad=False)
