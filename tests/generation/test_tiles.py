"""Decoding in tiles, against the whole picture."""

from dataclasses import replace

import pytest
import torch

from rotoscope.generation.codec import decode_frames, to_frames
from rotoscope.generation.memory import TILE, choose
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices
from rotoscope.settings import Settings
from tests.generation.conftest import MakePlan
from tests.generation.test_memory import LTX_2, room
from tests.generation.test_memory import plan_of as plan_for_19b


def test_tiles_have_no_seams(pipeline: Pipeline) -> None:
    """Smooth random latents: every column above 45 dB, and to the byte where one tile ends it."""
    models = pipeline.models
    rng = torch.Generator().manual_seed(4)
    coarse_BCFHW = torch.randn((1, models.transformer.config.in_channels, 3, 2, 6), generator=rng)
    latents = torch.nn.functional.interpolate(coarse_BCFHW, size=(3, 2, 24), mode="trilinear")
    whole, tiled = (
        to_frames(decode_frames(models, latents, tiled=one)).astype(float) for one in (False, True)
    )
    assert whole.shape == (17, 64, 768, 3)
    error_W = ((whole - tiled) ** 2).mean(axis=(0, 1, 3))
    assert 0 < error_W.max() < 255**2 / 10**4.5
    assert not error_W[: TILE - 128].any()
    assert not models.vae.use_tiling


@pytest.mark.parametrize(("tiled", "most"), [(False, 169), (True, 305)])
def test_tiles_leave_weights_on_the_card_for_longer(tiled: bool, most: int) -> None:
    """LTX-2 19B at 1280 x 704 on a card of 80 GB: the longest clip that is resident."""
    modes = []
    for frames in (most, most + 8):
        plan = plan_for_19b(match_video_length=False, num_frames=frames)
        plan = replace(plan, choices=Choices(decode_tiles=tiled))
        modes.append(choose("auto", LTX_2, plan, room(80)))
    assert modes == ["resident", "offloaded"]


def test_tiles_are_told(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """By a warning, where there is more than one."""
    fields = {"guidance_scale": 1.0, "video_strength": 0.0, "use_multiscale": False}
    tiles = Choices(decode_tiles=True)
    wide = plan_of(choices=tiles, video_size={"width": 768, "height": 64}, **fields)
    made, other = (
        pipeline.generate(plan, None, None, [], lambda *_: None).warnings
        for plan in (wide, plan_of(choices=tiles, **fields))
    )
    assert [one.used for one in made if one.field == "decode_tiles"] == [f"tiles of {TILE} pixels"]
    assert "decode_tiles" not in {one.field for one in other}
    assert Choices.of(Settings(decode_tiles=True)).decode_tiles
