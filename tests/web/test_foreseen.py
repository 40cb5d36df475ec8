"""Warnings that the answer to a submit has: right for any source, and nothing else."""

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotoscope.generation.plan import make_plan
from rotoscope.generation.weights import CHECKPOINTS
from rotoscope.media.facts import Size, VideoInfo
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.web.foreseen import foreseen_warnings
from tests.web.conftest import BODY, SUBMIT, Site

SNAPPED = {
    "video_size": {"width": 500, "height": 300},
    "match_video_length": False,
    "num_frames": 100,
    "match_input_fps": False,
    "fps": 29.97,
}


def asked_for(fields: dict[str, Any]) -> VideoToVideoInput:
    return VideoToVideoInput.model_validate_json(json.dumps(BODY | fields))


def test_the_submit_tells_what_is_adjusted_anyway(site: Site) -> None:
    """Each with the value that will be used."""
    answer = site.http.post(SUBMIT, json=BODY | SNAPPED, headers=site.client).json()

    assert {warning["field"]: warning["used"] for warning in answer["warnings"]} == {
        "video_size": "512x320",
        "num_frames": 97,
        "fps": "30000/1001",
    }


def test_what_depends_on_the_source_is_not_told(site: Site) -> None:
    """Length, rate and size of the default request are the source's own."""
    assert "warnings" not in site.http.post(SUBMIT, json=BODY, headers=site.client).json()
    # At one frame a second, 100 frames would be too long.
    by_number = asked_for({"match_video_length": False, "num_frames": 100})
    assert foreseen_warnings(by_number) == []


def test_a_lora_may_ask_for_another_size() -> None:
    """Its file, which is not there yet, decides what the sides are multiples of."""
    fields = {"video_size": {"width": 500, "height": 300}, "loras": [{"path": "someone/style"}]}
    assert foreseen_warnings(asked_for(fields)) == []


@pytest.mark.parametrize("field", ["ic_lora", "preprocessor"])
def test_what_has_no_effect_is_told(field: str) -> None:
    """Without the source, nothing acts on it."""
    warnings = foreseen_warnings(asked_for({"video_strength": 0, field: "canny"}))
    assert field in {warning.field for warning in warnings}


@settings(max_examples=60, deadline=None)
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "match_video_length": st.booleans(),
            "num_frames": st.integers(9, 481),
            "match_input_fps": st.booleans(),
            "fps": st.floats(1, 60),
            "use_multiscale": st.booleans(),
            "video_strength": st.sampled_from([0, 0.5, 1]),
            "video_size": st.sampled_from(["auto", "square", "landscape_16_9"])
            | st.fixed_dictionaries(
                {"width": st.integers(64, 4096), "height": st.integers(64, 4096)}
            ),
        },
    ),
    source=st.builds(
        VideoInfo,
        size=st.builds(Size, st.integers(16, 4096), st.integers(16, 4096)),
        fps=st.fractions(Fraction(1, 10), 240, max_denominator=1001),
        duration_s=st.floats(0.01, 4000),
        codec=st.just("h264"),
    ),
    checkpoint=st.sampled_from(sorted(CHECKPOINTS)),
)
def test_what_is_foreseen_comes_true(
    fields: dict[str, Any], source: VideoInfo, checkpoint: str
) -> None:
    """Whatever source and checkpoint the job then has."""
    asked = asked_for(fields)
    made = make_plan(asked, source, CHECKPOINTS[checkpoint], max_area=None)
    assert all(warning in made.warnings for warning in foreseen_warnings(asked))
