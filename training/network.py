"""What mini's networks are before they are fitted, and what a token's dimensions hold.

B  batch    N  tokens    C  latent channels    D  width    L  positions of text
"""

import math

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

from rotoscope.generation.mini.codec import CHANNELS
from rotoscope.generation.mini.networks import REGISTERS, WIDTH
from training.styles import style_words, vocabulary

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
# How much queries look away from registers and from words that mean no style; and how sharply,
# which must not be so much that one style is heard over another.
FROM_REGISTERS, FROM_WORDS, LISTENING = 3.0, 1.0, 0.7


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
    others = sorted(
        index for word, index in tokenizer.get_vocab().items() if word not in style_words()
    )
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
        register_key, word_key = block.attn2.norm_k(block.attn2.to_k(idle))
        block.attn2.to_q.weight.mul_(0.3)
        block.attn2.to_q.bias.copy_(-FROM_REGISTERS * register_key - FROM_WORDS * word_key)
        block.attn2.norm_q.weight.fill_(LISTENING)


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
