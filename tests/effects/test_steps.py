"""num_inference_steps and use_multiscale: how the result is reached."""

import pytest

from tests.effects import measure
from tests.effects.studio import Source, Studio


@pytest.mark.parametrize("steps", [8, 50])
def test_the_fewest_and_the_most_steps_work_and_are_reported(
    studio: Studio, film: Source, steps: int
) -> None:
    """The manifest says what was asked, and the result shows the source."""
    made = studio.order(film, num_inference_steps=steps)

    assert made.manifest.steps == steps
    assert "num_inference_steps" not in made.warned
    assert measure.edge_correlation(made.frames, film.frames_THWC) > 0.7


@pytest.mark.parameter("num_inference_steps")
def test_steps_change_the_result_a_little(studio: Studio, film: Source) -> None:
    """Other pixels of the same picture: more than 20 dB apart would be another picture."""
    few = studio.order(film, num_inference_steps=8)
    many = studio.order(film, num_inference_steps=50)

    assert few.file.read_bytes() != many.file.read_bytes()
    assert measure.psnr(few.frames, many.frames) > 20


@pytest.mark.parameter("num_inference_steps")
def test_more_steps_are_more_work(studio: Studio, film: Source) -> None:
    """As planned, in the stage that has them: 50 are more than twice the work of 8."""
    few, many = (studio.plan(film, num_inference_steps=steps) for steps in (8, 50))

    assert many.work["denoise"] > 2 * few.work["denoise"]
    assert many.work["decode"] == few.work["decode"]


@pytest.mark.parameter("use_multiscale")
def test_two_stages_are_no_worse_than_one(studio: Studio, film: Source) -> None:
    """Against the source: within half a decibel, and edges as well in place."""
    one = studio.order(film, use_multiscale=False)
    two = studio.order(film, use_multiscale=True)
    source = film.frames_THWC

    assert (one.manifest.multiscale, two.manifest.multiscale) == (False, True)
    assert measure.psnr(two.frames, source) > measure.psnr(one.frames, source) - 0.5
    # Not sharpness, which takes noise that one stage leaves for detail.
    edges_of_one = measure.edge_correlation(one.frames, source)
    assert measure.edge_correlation(two.frames, source) > edges_of_one - 0.02


@pytest.mark.parameter("use_multiscale")
def test_only_two_stages_refine(studio: Studio, film: Source) -> None:
    """The seconds of each stage tell which there were."""
    one = studio.order(film, use_multiscale=False).result.metrics
    two = studio.order(film, use_multiscale=True).result.metrics

    assert one
    assert two
    assert "refine" not in one
    assert two["refine"] > 0
