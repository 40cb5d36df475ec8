"""The base model: the transformer, its text connectors, and the frozen text encoder before them.

B  batch    N  tokens    C  latent channels    L  positions of text    D  their width
"""

from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import BatchEncoding

from rotoscope.generation.mini.networks import (
    TEXT_TOKENS,
    make_connectors,
    make_text_encoder,
    make_transformer,
)
from training.network import attend_to_words, make_tokenizer

SEED = 7
# The usual 0.02 would drown the words in what random layers add to them.
WORD_DEVIATION = 0.5


class Base(nn.Module):
    """All parts at their seeded, unfitted start; start.py fits them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.tokenizer = make_tokenizer()
        self.text_encoder = make_text_encoder(len(self.tokenizer))
        nn.init.normal_(self.text_encoder.get_input_embeddings().weight, std=WORD_DEVIATION)
        self.connectors = make_connectors()
        self.transformer = make_transformer()
        with torch.no_grad():
            attend_to_words(self.tokenizer, self.text_encoder, self.connectors, self.transformer)

    def text(self, prompts: list[str]) -> Tensor:
        """The picture's embeddings of `prompts`, as rotoscope.generation.text has them."""
        return self.embed(prompts)[0]

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> tuple[Tensor, Tensor, BatchEncoding]:
        """The picture's and the sound's embeddings, B x L x D, and the tokens they are of."""
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=TEXT_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        encoded = self.text_encoder.model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            output_hidden_states=True,
        )
        layers_BLD = torch.stack(encoded.hidden_states, dim=-1).flatten(2, 3)
        picture, sound, _ = self.connectors(layers_BLD, tokens.attention_mask, padding_side="left")
        return picture, sound, tokens

    def save(self, path: Path) -> None:
        save_model(self, str(path))

    def load(self, path: Path) -> None:
        load_model(self, str(path))
