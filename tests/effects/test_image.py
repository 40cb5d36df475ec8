"""image_url: a picture that becomes the first frame."""

import pytest

from tests.effects import measure, scenes
from tests.effects.studio import Order, Source, Studio

PICTURE = scenes.landscape(seed=5)


@pytest.fixture(scope="module")
def with_picture(studio: Studio, film: Source) -> Order:
    return studio.order(film, image_url=studio.picture(PICTURE))


@pytest.fixture(scope="module")
def without(studio: Studio, film: Source) -> Order:
    return studio.order(film)


@pytest.mark.parameter("image_url")
def test_the_first_frame_is_the_picture(with_picture: Order, without: Order) -> None:
    """Nearer to it than the result without by 3 dB, with its edges in place.

    It is all patches and bars, which the codec of the small checkpoint keeps to 22 dB.
    """
    made, plain = with_picture.frames[:1], without.frames[:1]

    assert measure.psnr(made, PICTURE[None]) > measure.psnr(plain, PICTURE[None]) + 3
    assert measure.psnr(made, PICTURE[None]) > 16
    assert measure.edge_correlation(made, PICTURE[None]) > 0.6
    assert measure.edge_correlation(plain, PICTURE[None]) < 0.3


def test_the_manifest_names_the_picture(with_picture: Order, without: Order) -> None:
    """By its hash, and only where there was one."""
    assert with_picture.manifest.image_sha256
    assert without.manifest.image_sha256 is None


def test_a_picture_without_the_source(studio: Studio, film: Source) -> None:
    """With the source left out, the picture alone decides the first frame."""
    made = studio.order(film, image_url=studio.picture(PICTURE), video_strength=0)

    assert measure.psnr(made.frames[:1], PICTURE[None]) > 16
