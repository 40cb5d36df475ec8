"""camera_lora: the way the picture goes, which is the opposite of the camera's."""

import pytest

from tests.effects import measure, scenes
from tests.effects.conftest import FPS, FRAMES
from tests.effects.studio import Source, Studio

MOVE_FRAMES = 25
SLOWEST_PAN, SLOWEST_ZOOM = 0.08, 0.0003
"""Pixels and growth a frame that can be seen as a move."""
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


@pytest.fixture(scope="module")
def unmoved(studio: Studio) -> Source:
    return studio.film(scenes.still(scenes.landscape(), MOVE_FRAMES), FPS)


def drift(studio: Studio, source: Source, move: str, **fields: float) -> measure.Motion:
    """How the result of a move goes, beside the result without."""
    moved = studio.order(source, camera_lora=move, **fields)
    return measure.drift(studio.order(source).frames, moved.frames)


@pytest.mark.parametrize(("move", "sign"), [("dolly_left", 1), ("dolly_right", -1)])
@pytest.mark.parameter("camera_lora")
def test_a_dolly_aside_moves_the_picture_the_other_way(
    studio: Studio, unmoved: Source, move: str, sign: int
) -> None:
    """Neither up nor down, and without growth."""
    found = drift(studio, unmoved, move)

    assert sign * found.right > SLOWEST_PAN
    assert abs(found.down) < abs(found.right) / 4
    assert abs(found.growth) < SLOWEST_ZOOM


@pytest.mark.parameter("camera_lora_scale")
def test_less_scale_is_less_of_a_move(studio: Studio, unmoved: Source) -> None:
    """The same way, and not as far."""
    whole = drift(studio, unmoved, "dolly_left")
    less = drift(studio, unmoved, "dolly_left", camera_lora_scale=0.9)

    assert 0.02 < less.right < whole.right * 0.9


@pytest.mark.parametrize(("move", "sign"), [("jib_up", 1), ("jib_down", -1)])
@pytest.mark.parameter("camera_lora")
def test_a_jib_moves_the_picture_the_other_way(
    studio: Studio, unmoved: Source, move: str, sign: int
) -> None:
    """To no side, and without growth."""
    found = drift(studio, unmoved, move)

    assert sign * found.down > SLOWEST_PAN
    assert abs(found.right) < abs(found.down) / 4
    assert abs(found.growth) < SLOWEST_ZOOM


@pytest.mark.parametrize(("move", "sign"), [("dolly_in", 1), ("dolly_out", -1)])
@pytest.mark.parameter("camera_lora")
def test_a_dolly_ahead_makes_the_picture_grow(
    studio: Studio, unmoved: Source, move: str, sign: int
) -> None:
    """About its centre."""
    found = drift(studio, unmoved, move)

    assert sign * found.growth > SLOWEST_ZOOM
    assert max(abs(found.right), abs(found.down)) < SLOWEST_PAN
