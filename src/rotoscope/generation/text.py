"""Prompts to the embeddings that the transformer attends to.

Gemma 3 reads the padded prompt; the hidden states of all its layers go through LTX-2's connectors,
which replace the padding by learned registers. So every position carries something, no text mask
is left to apply, and leaving it out is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rotoscope.generation.models import Models


@dataclass(frozen=True, slots=True)
class TextEmbeddings:
    """One row per prompt, L positions; two projections of the same text."""

    video_BLD: Tensor
    audio_BLD: Tensor


def encode_prompts(models: Models, prompts: Sequence[str]) -> TextEmbeddings:
    """Embed `prompts`; each is cut at the checkpoint's `text_tokens`."""
    tokens = models.tokenizer(
        [prompt.strip() for prompt in prompts],
        padding="max_length",
        max_length=models.checkpoint.text_tokens,
        truncation=True,
        return_tensors="pt",
    ).to(models.device)
    encoded = models.text_encoder.model(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True
    )
    layers_BLD = torch.stack(encoded.hidden_states, dim=-1).flatten(2, 3)
    video_BLD, audio_BLD, _ = models.connectors(
        layers_BLD, tokens.attention_mask, padding_side="left"
    )
    return TextEmbeddings(video_BLD, audio_BLD)
