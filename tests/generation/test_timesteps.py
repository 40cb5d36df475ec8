"""Noise levels are embedded once each, with the same answer."""

import copy

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2AdaLayerNormSingle

from rotoscope.generation.mini.networks import make_transformer
from rotoscope.generation.timesteps import share_timesteps


def test_few_levels_are_few_embeddings() -> None:
    """Each token gets its level's modulation, in its place."""
    torch.manual_seed(3)
    shared = LTX2AdaLayerNormSingle(16, num_mod_params=6)
    plain = copy.deepcopy(shared)
    embedded: list[int] = []
    shared.emb.register_forward_hook(lambda _, given, __: embedded.append(len(given[0])))
    levels_N = torch.tensor([900.0, 900, 0, 360, 900, 0, 360])

    share_timesteps(shared)
    results = shared(levels_N, batch_size=1), plain(levels_N, batch_size=1)

    assert embedded == [3]
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


def test_every_such_layer_of_the_transformer_shares() -> None:
    """Video, audio and those between them."""
    transformer = make_transformer()
    layers = [m for m in transformer.modules() if isinstance(m, LTX2AdaLayerNormSingle)]
    before = [layer.forward for layer in layers]

    share_timesteps(transformer)

    assert len(layers) > 4
    assert all(layer.forward != own for layer, own in zip(layers, before, strict=True))
