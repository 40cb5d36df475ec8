"""Pictures of a clip that is still being made: what they show, and that they change nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rotoscope.generation.pipeline import Generated, Pipeline
from rotoscope.generation.plan import Plan
from rotoscope.generation.preview import LONGEST_SIDE, Watch, glimpse
from tests.generation.conftest import MakePlan, make_source

Picture = NDArray[np.uint8]


def watched(pipeline: Pipeline, plan: Plan, every: int) -> tuple[Generated, list[Picture]]:
    shown: list[Picture] = []
    watch = Watch(every, shown.append)
    made = pipeline.generate(plan, make_source(plan), None, (), lambda *_: None, watch)
    return made, shown


def test_every_few_steps_of_each_pass_there_is_a_picture(
    pipeline: Pipeline, plan_of: MakePlan
) -> None:
    """Of each pass at its own size, and none after its last step."""
    plan = plan_of(num_inference_steps=8)

    _, shown = watched(pipeline, plan, every=3)

    assert [picture.shape for picture in shown] == [(32, 64, 3), (32, 64, 3)]
    _, shown = watched(pipeline, plan, every=2)
    assert [picture.shape for picture in shown] == [(32, 64, 3)] * 3 + [(64, 128, 3)]


def test_pictures_change_nothing(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """The clip is the same to the byte whether somebody watches or not."""
    plan = plan_of()
    alone = pipeline.generate(plan, make_source(plan), None, (), lambda *_: None)

    seen, shown = watched(pipeline, plan, every=1)

    assert shown
    assert np.array_equal(alone.clip.frames_THWC, seen.clip.frames_THWC)


def test_a_picture_looks_like_the_clip(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """The last one before the end resembles the middle of the result more than its inverse."""
    plan = plan_of(use_multiscale=False, match_video_length=False, num_frames=17)

    made, shown = watched(pipeline, plan, every=7)

    # The middle latent frame stands for the frames 1 to 8; its last picture is the eighth.
    result = made.clip.frames_THWC[8].astype(float)
    assert np.corrcoef(shown[-1].ravel(), result.ravel())[0, 1] > 0.9


def test_pictures_are_small(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """However large the clip is."""
    plan = plan_of(video_size={"width": 512, "height": 128}, use_multiscale=False)

    _, shown = watched(pipeline, plan, every=7)

    assert shown[0].shape == (96, LONGEST_SIDE, 3)


def test_there_is_none_where_the_codec_waits_elsewhere(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a memory plan that moves weights, the picture would take what the plan counts on."""
    monkeypatch.setattr(pipeline.models.placement, "mode", "offloaded")

    assert glimpse(pipeline.models, None) is None  # type: ignore[arg-type]
