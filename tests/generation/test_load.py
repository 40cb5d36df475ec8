"""A checkpoint is read to where its weights stay."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3ForConditionalGeneration

from rotoscope.generation.models import open_models
from rotoscope.settings import Settings


def test_weights_are_read_to_where_they_stay(
    mini_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each library is told the device, and leaves no hook that would move anything later."""
    read, told = Gemma3ForConditionalGeneration.from_pretrained, list[dict[str, torch.device]]()

    def reading(*where: Any, **how: Any) -> Any:
        told.append(how["device_map"])
        return read(*where, **how)

    monkeypatch.setattr(Gemma3ForConditionalGeneration, "from_pretrained", reading)
    models = open_models(Settings(data_dir=mini_home, device="cpu"))
    assert told == [{"": models.device}]
    for part in (models.transformer, models.vae, models.connectors, models.vocoder):
        assert part.hf_device_map == {"": models.device}
    for part in (models.transformer, models.vae, models.text_encoder, models.vocoder):
        assert not any(hasattr(one, "_hf_hook") for one in part.modules())
        assert not any(tensor.requires_grad for tensor in part.parameters())
        assert not part.training
