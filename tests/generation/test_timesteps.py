"""Noise levels are embedded once each, with the same answer."""

import torch
from diffusers import LTX2VideoTransformer3DModel

from rotoscope.generation.mini.networks import make_transformer
from rotoscope.generation.timesteps import levels_once


def answers(transformer: LTX2VideoTransformer3DModel, levels_N: torch.Tensor) -> list[torch.Tensor]:
    """Velocities of two rows whose tokens have these noise levels."""
    rng, rows, count = torch.Generator().manual_seed(3), 2, len(levels_N)
    config = transformer.config

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng)

    text = drawn(rows, 6, config.caption_channels)
    with torch.inference_mode():
        made = transformer(
            hidden_states=drawn(rows, count, config.in_channels),
            audio_hidden_states=drawn(rows, 5, config.audio_in_channels),
            encoder_hidden_states=text,
            audio_encoder_hidden_states=text,
            timestep=levels_N.expand(rows, -1),
            audio_timestep=torch.full((rows,), 900.0),
            num_frames=1,
            height=1,
            width=count,
            audio_num_frames=5,
        )
    return [made.sample, made.audio_sample]


def test_few_levels_are_few_embeddings() -> None:
    """Each token gets its level's modulation, in its place, to the bit; one level is shared."""
    torch.manual_seed(3)
    transformer = make_transformer().eval()
    embedded: list[int] = []
    transformer.time_embed.emb.register_forward_hook(lambda _, __, made: embedded.append(len(made)))

    for levels in ([900.0, 900, 0, 360, 900, 0, 360], [900.0] * 7):
        levels_N = torch.tensor(levels)
        plain = answers(transformer, levels_N)
        with levels_once(transformer):
            shared = answers(transformer, levels_N)
        for ours, expected in zip(shared, plain, strict=True):
            torch.testing.assert_close(ours, expected)

    assert embedded == [14, 3, 14, 1]


def test_the_transformer_is_as_it_was_afterwards() -> None:
    """Nothing of ours stays in it."""
    transformer = make_transformer()
    with levels_once(transformer):
        assert any("forward" in vars(layer) for layer in transformer.modules())
    assert not any({"forward", "get_mod_params"} & set(vars(m)) for m in transformer.modules())
