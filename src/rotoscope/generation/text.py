"""Prompts to the embeddings that the transformer attends to.

Gemma 3 reads the padded prompt; the hidden states of all its layers go through LTX-2's connectors,
which replace the padding by learned registers. So every position carries something, no text mask
is left to apply, and leaving it out is exact.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rotoscope.generation.models import Models
from rotoscope.generation.plan import Plan
from rotoscope.schema.input import DEFAULT_NEGATIVE_PROMPT
from rotoscope.schema.output import Adjustment


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


def cut_prompts(models: Models, plan: Plan) -> Iterator[Adjustment]:
    """A warning for each prompt that has more tokens than the checkpoint reads.

    The default negative prompt is nobody's asking, so that of it is not told.
    """
    prompts = {"prompt": plan.prompt}
    if plan.guidance_scale > 1 and plan.negative_prompt != DEFAULT_NEGATIVE_PROMPT:
        prompts["negative_prompt"] = plan.negative_prompt
    most = models.checkpoint.text_tokens
    for field, prompt in prompts.items():
        if (count := len(models.tokenizer(prompt.strip()).input_ids)) > most:
            why = f"{models.checkpoint.name} reads {most} tokens of a prompt; the rest is left out"
            yield Adjustment(field=field, asked=f"{count} tokens", used=f"{most} tokens", why=why)
