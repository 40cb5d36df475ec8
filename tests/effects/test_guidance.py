"""guidance_scale and negative_prompt: how far towards one text, and away from another."""

from itertools import pairwise

import pytest

from tests.effects import measure
from tests.effects.studio import PLAIN, Source, Studio

SCALES = (1, 3, 9)


@pytest.mark.parameter("guidance_scale")
def test_more_guidance_is_more_of_the_prompt(studio: Studio, film: Source) -> None:
    """Each threefold scale adds to the cast, against an empty negative prompt."""
    orders = [
        studio.order(film, prompt="warm colors", negative_prompt="", guidance_scale=scale)
        for scale in SCALES
    ]
    casts = [measure.warmth(order.frames) for order in orders]

    # 0.002 is half a level of 255: more than the encoding changes a mean.
    assert all(more > less + 0.002 for less, more in pairwise(casts)), casts


@pytest.mark.parameter("negative_prompt")
@pytest.mark.parametrize(
    ("negative", "sign"), [("cold light", 1), ("warm colors", -1)], ids=["cold", "warm"]
)
def test_a_negative_prompt_pushes_away(
    studio: Studio, film: Source, negative: str, sign: int
) -> None:
    """Not cold is warm."""
    without = studio.order(film, prompt=PLAIN, negative_prompt="", guidance_scale=3)
    pushed = studio.order(film, prompt=PLAIN, negative_prompt=negative, guidance_scale=3)

    assert sign * (measure.warmth(pushed.frames) - measure.warmth(without.frames)) > 0.01


@pytest.mark.parameter("guidance_scale", "negative_prompt")
def test_without_guidance_the_negative_prompt_is_not_used(studio: Studio, film: Source) -> None:
    """The same bytes whatever it says."""
    orders = [
        studio.order(film, guidance_scale=1, negative_prompt=text) for text in ("", "cold light")
    ]

    assert orders[0].file.read_bytes() == orders[1].file.read_bytes()


def test_strong_guidance_leaves_the_scene(studio: Studio, film: Source) -> None:
    """Edges are still the source's at twice the default scale, with the default negative prompt."""
    made = studio.order(film, prompt="warm colors", guidance_scale=6)

    assert measure.edge_correlation(made.frames, film.frames_THWC) > 0.6
