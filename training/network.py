"""The shapes of mini's networks, and the picture's way through the transformer.

A token's width: the noisy latents, what attention copies from the reference, a constant, flags.

    B  batch    N  tokens    C  latent channels    D  width    L  positions of text
"""

import math

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from training.codec import CHANNELS
from training.styles import style_words, vocabulary

HEADS, HEAD_WIDTH, LAYERS = 9, 64, 3
WIDTH = HEADS * HEAD_WIDTH
AUDIO_HEAD_WIDTH = 16
AUDIO_WIDTH = HEADS * AUDIO_HEAD_WIDTH
AUDIO_CHANNELS = 32
TEXT_WIDTH, TEXT_LAYERS, TEXT_TOKENS = 64, 2, 128
REGISTERS = 32
SPECIAL = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
NOISY, COPIED = slice(0, CHANNELS), slice(CHANNELS, 2 * CHANNELS)
# Dimensions that carry a constant, half of them its negative, so that normalising a token divides
# it by TOKEN, whatever the picture.
CONSTANT_DIMS, CONSTANT = slice(2 * CHANNELS, 2 * CHANNELS + 16), 384.0
TOKEN = math.sqrt(16 / WIDTH) * CONSTANT
# Dimensions that say what the prompt asks for, one per style, and how noisy a token is.
FLAGS = slice(2 * CHANNELS + 16, WIDTH)
# How much words without a style differ from each other, before training.
ALIKE = 0.2


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
    # The usual 0.02 would drown the words in what random layers add to them.
    nn.init.normal_(encoder.get_input_embeddings().weight, std=0.5)
    return encoder.eval().requires_grad_(requires_grad=False)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case words and marks; a word that was not trained is <unk>, which changes nothing."""
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits()]
    )
    words = {word for text in vocabulary() for word, _ in splitter.pre_tokenize_str(text.lower())}
    ordered = [*SPECIAL.values(), *sorted(words)]
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(ordered)}, unk_token="<unk>")  # noqa: S106 - a word
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, padding_side="left")


def attend_to_words(
    tokenizer: PreTrainedTokenizerFast,
    encoder: Gemma3ForConditionalGeneration,
    connectors: LTX2TextConnectors,
    model: LTX2VideoTransformer3DModel,
) -> None:
    """Set weights so that the untrained model already looks at words that may mean a style.

    Those are a few of the positions; registers and other words fill the rest. These start out
    alike, and queries opposite to their keys.
    """
    table = encoder.get_input_embeddings().weight
    others = [index for word, index in tokenizer.get_vocab().items() if word not in style_words()]
    table[others] = table[others[:1]] + ALIKE * table[others]
    connector = connectors.video_connector
    connector.learnable_registers.copy_(connector.learnable_registers[:1].clone())
    for layer in connector.transformer_blocks:
        layer.attn1.to_out[0].weight.mul_(0.1)
        layer.ff.net[2].weight.mul_(0.1)
    ids = torch.tensor([others[:8]])
    states = encoder.model(input_ids=ids, output_hidden_states=True).hidden_states
    states_BLD = torch.stack(states, dim=-1).flatten(2, 3)
    word, _, _ = connectors(
        states_BLD.repeat(1, REGISTERS // 8, 1), torch.ones(1, REGISTERS), padding_side="left"
    )
    register = connector.norm_out(connector.learnable_registers[0])
    idle = model.caption_projection(torch.stack([register, word[0].mean(0)]))
    for block in model.transformer_blocks:
        key = block.attn2.norm_k(block.attn2.to_k(idle)).sum(0)
        block.attn2.to_q.weight.mul_(0.3)
        block.attn2.to_q.bias.copy_(-key)
        block.attn2.norm_q.weight.fill_(1.3)


def velocities(
    model: LTX2VideoTransformer3DModel,
    tokens_BNC: Tensor,
    text_BLD: Tensor,
    timestep_BN: Tensor,
    coords_BXNE: Tensor,
) -> Tensor:
    """The picture's half of the transformer's forward pass; sound never reaches it (pack.py)."""
    batch = len(tokens_BNC)
    rope = model.rope(coords_BXNE)
    hidden = model.proj_in(tokens_BNC)
    # Few distinct timesteps: embed each once.
    values, index = torch.unique(timestep_BN, return_inverse=True)
    modulation, embedded = model.time_embed(values, batch_size=1, hidden_dtype=hidden.dtype)
    text_BLD = model.caption_projection(text_BLD).view(batch, -1, hidden.shape[-1])
    for block in model.transformer_blocks:
        table = block.scale_shift_table + modulation.view(len(values), 6, -1)
        shift, scale, gate, shift_ff, scale_ff, gate_ff = table[index].unbind(2)
        normed = block.norm1(hidden) * (1 + scale) + shift
        hidden = hidden + gate * block.attn1(normed, query_rotary_emb=rope)
        hidden = hidden + block.attn2(block.norm2(hidden), encoder_hidden_states=text_BLD)
        normed = block.norm3(hidden) * (1 + scale_ff) + shift_ff
        hidden = hidden + gate_ff * block.ff(normed)
    shift, scale = (model.scale_shift_table + embedded[:, None])[index].unbind(2)
    answer_BNC: Tensor = model.proj_out(model.norm_out(hidden) * (1 + scale) + shift)
    return answer_BNC
