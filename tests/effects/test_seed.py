"""seed: the same one makes the same bytes, another one another take of the same scene."""

import pytest

from tests.effects import measure
from tests.effects.studio import Source, Studio

GRAINY = "black-and-white video, film grain"


@pytest.mark.parameter("seed")
def test_the_same_seed_makes_the_same_bytes(studio: Studio, film: Source) -> None:
    """Picture and file."""
    first = studio.order(film, seed=7, prompt=GRAINY)
    second = studio.order_again(film, seed=7, prompt=GRAINY)

    assert first.request_id != second.request_id
    assert first.file.read_bytes() == second.file.read_bytes()
    assert first.manifest.seed == second.manifest.seed == 7


def test_no_seed_is_seed_0(studio: Studio, film: Source) -> None:
    """As published: 0 is a seed like others."""
    unsaid = studio.order(film, seed=None, prompt=GRAINY)
    zero = studio.order(film, seed=0, prompt=GRAINY)

    assert unsaid.file.read_bytes() == zero.file.read_bytes()


@pytest.mark.parameter("seed")
def test_another_seed_is_another_take_of_the_same_scene(studio: Studio, film: Source) -> None:
    """Different pixels, beyond the encoding; the same colours, and edges at the same places."""
    one = studio.order(film, seed=7, prompt=GRAINY).frames
    other = studio.order(film, seed=8, prompt=GRAINY).frames

    assert 15 < measure.psnr(one, other) < 45
    assert measure.edge_correlation(one, other) > 0.4
    assert abs(measure.brightness(one) - measure.brightness(other)) < 0.03
    for made in (one, other):
        assert measure.edge_correlation(made, film.frames_THWC) > 0.4
