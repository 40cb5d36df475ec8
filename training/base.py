"""The base model: the transformer, its text connectors, and the frozen text encoder before them.

B  batch    N  tokens    C  latent channels    L  positions of text    D  their width
"""

from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from training.batches import Batch
from training.network import (
    TEXT_TOKENS,
    attend_to_words,
    make_connectors,
    make_text_encoder,
    make_tokenizer,
    make_transformer,
    velocities,
)

SEED = 7


class Base(nn.Module):
    """All parts at their seeded, unfitted start; start.py fits them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.tokenizer = make_tokenizer()
        self.text_encoder = make_text_encoder(len(self.tokenizer))
        self.connectors = make_connectors()
        self.transformer = make_transformer()
        with torch.no_grad():
            attend_to_words(self.tokenizer, self.text_encoder, self.connectors, self.transformer)

    def text(self, prompts: list[str]) -> Tensor:
        """As rotoscope.generation.text has it."""
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=TEXT_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            encoded = self.text_encoder.model(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                output_hidden_states=True,
            )
            layers = torch.stack(encoded.hidden_states, dim=-1).flatten(2, 3)
        video, _, _ = self.connectors(layers, tokens.attention_mask, padding_side="left")
        embedded: Tensor = video
        return embedded

    def forward(self, batch: Batch) -> Tensor:
        model, shape = self.transformer, batch.shape
        rows = len(batch.prompts)
        coords = model.rope.prepare_video_coords(rows, *shape.latent, "cpu", fps=batch.fps)
        copies = batch.noisy_BNC.shape[1] // shape.tokens
        coords = torch.cat([coords] * copies, 2)
        answer = velocities(
            model, batch.noisy_BNC, self.text(batch.prompts), 1000 * batch.timestep_BN, coords
        )
        return answer[:, : shape.tokens]

    def save(self, path: Path) -> None:
        save_model(self, str(path))

    def load(self, path: Path) -> None:
        load_model(self, str(path))
