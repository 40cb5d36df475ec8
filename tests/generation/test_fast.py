"""What makes a generation fast, each against the same generation without it."""

import numpy as np
import pytest

from rotoscope.generation.pipeline import Generated, Pipeline
from rotoscope.generation.plan import Choices, Plan
from rotoscope.generation.speed import Speed
from tests.generation.conftest import MakePlan, make_image, make_source

PLAIN = Speed(once=())


def made_with(pipeline: Pipeline, plan: Plan, speed: Speed, *, image: bool = False) -> Generated:
    fast = Pipeline(pipeline.models, speed=speed)
    first = make_image(plan) if image else None
    return fast.generate(plan, make_source(plan), first, [], lambda *_: None)


def assert_same(one: Generated, other: Generated) -> None:
    """To the bit, picture and sound."""
    assert np.array_equal(one.clip.frames_THWC, other.clip.frames_THWC)
    assert one.clip.audio is not None
    assert other.clip.audio is not None
    assert np.array_equal(one.clip.audio.samples_CS, other.clip.audio.samples_CS)


@pytest.mark.parametrize(
    ("fields", "choices", "image"),
    [
        ({"guidance_scale": 3.0}, Choices(), False),
        ({"guidance_scale": 1.0, "video_strength": 0.6}, Choices(), True),
        ({"guidance_scale": 3.0, "video_strength": 0.0}, Choices(stg_scale=1.0), False),
    ],
)
def test_computing_once_changes_no_bit(
    pipeline: Pipeline,
    plan_of: MakePlan,
    fields: dict[str, float],
    choices: Choices,
    image: bool,
) -> None:
    """With one noise level, two and three, with guidance, without, and with a perturbed row.

    Embedding three noise levels instead of all tokens' rounds otherwise.
    """
    plan = plan_of(choices=choices, **fields)
    plain = made_with(pipeline, plan, PLAIN, image=image)
    assert_same(made_with(pipeline, plan, Speed(once=("text", "positions")), image=image), plain)
    levels = made_with(pipeline, plan, Speed(once=("levels",)), image=image)
    difference = levels.clip.frames_THWC.astype(int) - plain.clip.frames_THWC
    assert np.abs(difference).max() <= 1
    assert np.mean(difference != 0) < 0.01
