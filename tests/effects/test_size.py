"""video_size: named, given in pixels, or the source's own."""

from typing import Any

import pytest

from tests.effects import measure, scenes
from tests.effects.conftest import FPS, footage
from tests.effects.studio import Source, Studio


@pytest.mark.parameter("video_size")
@pytest.mark.parametrize(("width", "height"), [(256, 128), (192, 192), (128, 256)])
def test_auto_keeps_the_shape_of_the_source(studio: Studio, width: int, height: int) -> None:
    """And its size, where both are multiples of 64."""
    source = studio.film(footage(width, height, 9), FPS)

    made = studio.order(source, video_size="auto")

    assert made.video.size == (width, height)
    assert measure.edge_correlation(made.frames, source.frames_THWC) > 0.6


@pytest.mark.parameter("video_size")
@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"video_size": {"width": 192, "height": 128}}, (192, 128)),
        ({"video_size": {"width": 130, "height": 120}}, (128, 128)),
        ({"video_size": {"width": 160, "height": 96}, "use_multiscale": False}, (160, 96)),
        ({"video_size": "square"}, (512, 512)),
    ],
    ids=["pixels", "snapped", "one stage", "square"],
)
def test_other_sizes(
    studio: Studio, film: Source, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    """Multiples of 64, or of 32 with one stage; the nearest where others are asked."""
    made = studio.order(film, match_video_length=False, num_frames=9, **fields)

    assert made.video.size == size
    assert made.result.media
    assert (made.result.media.width, made.result.media.height) == size
    asked = fields["video_size"]
    snapped = asked != "square" and (asked["width"], asked["height"]) != size
    assert ("video_size" in made.warned) is snapped


def test_another_shape_is_cut_from_the_middle(studio: Studio, film: Source) -> None:
    """The square result shows the square in the middle of the source, not all of it squeezed."""
    size = {"width": 128, "height": 128}
    made = studio.order(film, match_video_length=False, num_frames=9, video_size=size)
    middle = film.frames_THWC[:9, :, 64:192]
    squeezed = scenes.resized(film.frames_THWC[:9], 128, 128)

    assert measure.edge_correlation(made.frames, middle) > 0.6
    assert measure.edge_correlation(made.frames, middle) > 0.3 + measure.edge_correlation(
        made.frames, squeezed
    )
