"""video_strength, and how true the result is to the source when nothing else is asked."""

from fractions import Fraction
from itertools import pairwise

import pytest

from tests.effects import measure
from tests.effects.conftest import footage
from tests.effects.studio import Order, Source, Studio

STRENGTHS = (1.0, 0.7, 0.4, 0.0)


@pytest.fixture(scope="module")
def by_strength(studio: Studio, film: Source) -> list[Order]:
    return [studio.order(film, video_strength=strength) for strength in STRENGTHS]


@pytest.mark.parameter("video_strength")
def test_less_strength_is_further_from_the_source(by_strength: list[Order], film: Source) -> None:
    """Each step moves the picture by a hundredth of full scale and more, away from the source.

    The first is counted from what strength 1 makes: what the codec loses is not of the strength.
    """
    from_whole, from_source = (
        [measure.distance(order.frames, frames) for order in by_strength]
        for frames in (by_strength[0].frames, film.frames_THWC)
    )

    assert all(far > near + 0.01 for near, far in pairwise(from_whole)), from_whole
    assert all(far > near for near, far in pairwise(from_source)), from_source


@pytest.mark.parameter("video_strength")
def test_without_strength_the_source_is_not_seen(by_strength: list[Order], film: Source) -> None:
    """No edge is where the source has one, by more than chance."""
    assert measure.edge_correlation(by_strength[-1].frames, film.frames_THWC) < 0.3


@pytest.fixture(scope="module")
def large(studio: Studio) -> tuple[Source, Order]:
    """At a size where the codec of the small checkpoint alone reaches 27.7 dB."""
    source = studio.film(footage(768, 448), Fraction(25))
    size = {"width": 768, "height": 448}
    return source, studio.order(source, video_size=size)


@pytest.mark.parameter("video_url")
def test_the_original_is_kept(large: tuple[Source, Order]) -> None:
    """26 dB and edges in place: details are softer, nothing is missing or moved."""
    source, order = large

    assert measure.psnr(order.frames, source.frames_THWC) >= 26
    assert measure.edge_correlation(order.frames, source.frames_THWC) >= 0.7


def test_colours_and_light_are_kept(large: tuple[Source, Order]) -> None:
    """Means within two hundredths; saturation and contrast within a fifth."""
    source, order = large
    made, given = order.frames, source.frames_THWC

    assert measure.brightness(made) == pytest.approx(measure.brightness(given), abs=0.02)
    assert measure.tint(made) == pytest.approx(measure.tint(given), abs=0.02)
    assert measure.saturation(made) == pytest.approx(measure.saturation(given), rel=0.2)
    assert measure.contrast(made) == pytest.approx(measure.contrast(given), rel=0.2)


def test_nothing_flickers(large: tuple[Source, Order]) -> None:
    """No more than half as much again as the source, and groups of frames join."""
    source, order = large

    assert measure.flicker(order.frames) <= 1.5 * measure.flicker(source.frames_THWC)
    assert measure.jumps(order.frames) <= measure.jumps(source.frames_THWC) + 0.5
