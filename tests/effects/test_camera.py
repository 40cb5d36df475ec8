"""camera_lora: static, the move that comes with the small checkpoint."""

import pytest

from tests.effects import measure, scenes
from tests.effects.conftest import FPS, FRAMES
from tests.effects.studio import Source, Studio

STEP = 8
"""Frames between those compared: as many as a latent frame stands for."""


@pytest.mark.parameter("camera_lora_scale")
def test_scale_0_is_no_move(studio: Studio, scene: Source) -> None:
    """To the last byte of the file."""
    none = studio.order(scene, camera_lora="none")
    zero = studio.order(scene, camera_lora="static", camera_lora_scale=0)

    assert none.file.read_bytes() == zero.file.read_bytes()


@pytest.mark.parameter("camera_lora")
def test_static_holds_the_camera(studio: Studio) -> None:
    """A source that pans does so less than half as fast."""
    source = studio.film(scenes.panned(FRAMES, 1.5, 0), FPS)
    panned = measure.motion(studio.order(source).frames, STEP)
    held = measure.motion(studio.order(source, camera_lora="static").frames, STEP)

    assert panned.right > 0.75
    assert abs(held.right) < panned.right / 2
