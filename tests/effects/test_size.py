"""video_size: named, given in pixels, or the source's own."""

from typing import Any

import numpy as np
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
    ],
    ids=["pixels", "snapped", "one stage"],
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
    assert ("video_size" in made.warned) is ((asked["width"], asked["height"]) != size)


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


@pytest.mark.parameter("video_size")
def test_a_named_size_covers_and_is_cut_from_the_middle(studio: Studio) -> None:
    """Of a wide source with red and blue ends, the square shows the green between, to its edges."""
    marked = np.zeros((9, 128, 512, 3), np.uint8)
    marked[..., :160, 0] = marked[..., 160:352, 1] = marked[..., 352:, 2] = 200
    source = studio.film(marked, FPS)

    made = studio.order(source, video_size="square")

    assert made.video.size == (512, 512)
    assert "video_size" not in made.warned
    red, green, blue = made.frames.reshape(-1, 3).mean(axis=0)
    assert green > 2 * max(red, blue)
    for edge in (made.frames[..., :32, :], made.frames[..., -32:, :]):
        assert edge[..., 1].mean() > edge[..., (0, 2)].mean()
