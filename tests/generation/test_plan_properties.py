"""Any valid request with any source gives a plan that the model can make, and tells each change."""

import builtins
import math
import socket
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rotoscope.generation.plan import (
    MAX_DOWNSCALE,
    MAX_FRAMES,
    MAX_SECONDS,
    MAX_SIDE,
    MIN_FRAMES,
    NAMED_SIZES,
    Choices,
    InContext,
    Plan,
    make_plan,
)
from rotoscope.generation.weights import CHECKPOINTS, Checkpoint
from rotoscope.media.facts import Size, VideoInfo
from rotoscope.schema.input import VideoToVideoInput
from tests.generation.test_plan import request_of

HOURS = 10 * 3600
NTSC = [Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60)]

rates = (
    st.sampled_from(NTSC)
    | st.integers(1, 240).map(Fraction)
    # Of a variable rate, probing gives frames over ticks.
    | st.fractions(Fraction(1, 10), 240, max_denominator=90_000)
)


@st.composite
def sources(draw: st.DrawFn) -> VideoInfo:
    """From one frame to hours, of odd sizes, at constant and variable rates."""
    fps = draw(rates)
    frames = draw(st.integers(1, 1000) | st.integers(1, 240 * HOURS))
    seconds = min(float(frames / fps), HOURS)
    side = st.integers(1, 8192)
    size = Size(draw(side), draw(side))
    return VideoInfo(size=size, fps=fps, duration_s=seconds, codec="h264")


asked_for = st.fixed_dictionaries(
    {
        "match_video_length": st.booleans(),
        "num_frames": st.integers(9, 481),
        "match_input_fps": st.booleans(),
        "fps": st.floats(1, 60) | st.sampled_from([23.976, 24, 25, 29.97, 30, 59.94, 12.5]),
        "use_multiscale": st.booleans(),
        "num_inference_steps": st.integers(8, 50),
        "guidance_scale": st.floats(1, 10),
        "video_strength": st.floats(0, 1) | st.sampled_from([0, 1]),
        "ic_lora": st.sampled_from(["match_preprocessor", "canny", "detailer", "none"]),
        "ic_lora_scale": st.sampled_from([0, 0.5, 1]),
        "preprocessor": st.sampled_from(["none", "depth"]),
        "seed": st.integers(0, 2**31 - 1),
        "generate_audio": st.booleans(),
        "video_size": st.sampled_from(["auto", *NAMED_SIZES])
        | st.fixed_dictionaries({"width": st.integers(64, 4096), "height": st.integers(64, 4096)}),
    }
)
choices = st.builds(
    Choices,
    plain_video=st.sampled_from(["reference", "sdedit"]),
    detailer=st.sampled_from(["generic", "three-step"]),
    stg_scale=st.sampled_from([0.0, 1.0]),
)
controls = st.none() | st.builds(
    InContext, st.integers(0, 3), st.integers(1, MAX_DOWNSCALE), st.booleans()
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[VideoToVideoInput, VideoInfo, Plan]:
    request, info = request_of(**draw(asked_for)), draw(sources())
    checkpoint = draw(st.sampled_from(list(CHECKPOINTS.values())))
    max_area = draw(st.none() | st.integers(64 * 64, 4096 * 4096))
    extra: dict[str, Any] = {"choices": draw(choices), "in_context": draw(controls)}
    made = make_plan(request, info, checkpoint, max_area=max_area, **extra)
    assert made == make_plan(request, info, checkpoint, max_area=max_area, **extra)
    return request, info, made


@settings(deadline=None)
@given(case=cases())
def test_any_plan_is_one_the_model_can_make(
    case: tuple[VideoToVideoInput, VideoInfo, Plan],
) -> None:
    """8k+1 frames of at most 20 seconds, sides that divide, 1 to 60 frames a second."""
    _, _, plan = case
    multiple = (64 if plan.multiscale else 32) * plan.downscale

    assert plan.frames % 8 == 1
    assert MIN_FRAMES <= plan.frames <= MAX_FRAMES
    assert plan.frames == MIN_FRAMES or (plan.frames - 1) / plan.fps <= MAX_SECONDS
    assert 1 <= plan.fps <= 60
    assert plan.size.width % multiple == plan.size.height % multiple == 0
    assert all(multiple <= side <= MAX_SIDE for side in (plan.size.width, plan.size.height))
    assert all(later.size == plan.size for later in plan.passes[-1:])
    for one in plan.passes:
        assert one.size.width % 32 == one.size.height % 32 == 0
        assert all(a > b for a, b in zip(one.sigmas, (*one.sigmas[1:], 0), strict=True))
        assert 0 < one.sigmas[0] <= 1
        assert one.guidance_scale >= 1
        if one.reference:
            seen = plan.seen_at(one)
            assert seen.width * plan.downscale == one.size.width
            assert seen.height % 32 == 0
    assert all(cost > 0 for name, cost in plan.costs.items() if name != "condition")


@settings(deadline=None)
@given(case=cases())
def test_the_source_is_read_where_it_is_used(
    case: tuple[VideoToVideoInput, VideoInfo, Plan],
) -> None:
    """8m+1 frames, at most as many as are made, at the largest size that a pass needs; or none."""
    request, _, plan = case
    in_use = any(one.reference or one.from_source for one in plan.passes)

    assert (plan.reference is not None) == in_use == (request.video_strength > 0)
    if plan.reference is not None:
        assert plan.reference.frames % 8 == 1
        assert plan.reference.frames <= plan.frames
        assert plan.reference.size in plan.source_sizes
        assert all(size.area <= plan.reference.size.area for size in plan.source_sizes)


@settings(deadline=None)
@given(case=cases())
def test_every_change_is_told_and_nothing_else(
    case: tuple[VideoToVideoInput, VideoInfo, Plan],
) -> None:
    """Each warning holds the value that was asked for and the one that the plan has."""
    request, info, plan = case
    told = {warning.field: (warning.asked, warning.used) for warning in plan.warnings}

    assert len(told) == len(plan.warnings)
    assert told == changes(request, info, plan)
    assert all(warning.why for warning in plan.warnings)
    assert (plan.prompt, plan.negative_prompt) == (request.prompt, request.negative_prompt)
    assert (plan.seed, plan.strength) == (request.seed, request.video_strength)
    assert (plan.audio, plan.first_frame) == (request.generate_audio, False)


def changes(request: VideoToVideoInput, info: VideoInfo, plan: Plan) -> dict[str, Any]:
    """Field by field, what was asked for and what the plan has, where they differ."""
    shown = max(1, math.floor(Fraction(info.duration_s).limit_denominator(1_000_000) * plan.fps))
    named = ic_lora_meant(request)
    unheard = plan.reference is None and named and request.ic_lora_scale > 0
    both: dict[str, tuple[Any, Any]] = {
        "num_frames": (
            shown if request.match_video_length else request.num_frames,
            plan.frames,
        ),
        "video_size": (str(size_meant(request, info)), str(plan.size)),
        "num_inference_steps": (request.num_inference_steps, plan.steps),
        "guidance_scale": (request.guidance_scale, plan.guidance_scale),
        "use_multiscale": (request.use_multiscale, plan.multiscale),
        "preprocessor": (request.preprocessor, plan.preprocessor),
        "ic_lora": (request.ic_lora, "none" if unheard else request.ic_lora),
    }
    if request.match_input_fps:
        both["match_input_fps"] = (str(info.fps), str(plan.fps))
    elif float(plan.fps) != request.fps:
        both["fps"] = (request.fps, str(plan.fps))
    if plan.reference is not None:
        both["video_url"] = (plan.frames, plan.reference.frames)
    return {field: pair for field, pair in both.items() if pair[0] != pair[1]}


def ic_lora_meant(request: VideoToVideoInput) -> bool:
    follows = request.ic_lora == "match_preprocessor"
    return (request.preprocessor if follows else request.ic_lora) != "none"


def size_meant(request: VideoToVideoInput, info: VideoInfo) -> Size:
    asked = request.video_size
    if isinstance(asked, str):
        return info.size if asked == "auto" else NAMED_SIZES[asked]
    return Size(asked.width, asked.height)


@settings(deadline=None)
@given(info=sources())
@example(VideoInfo(size=Size(1, 1), fps=Fraction(24000, 1001), duration_s=1, codec="h264"))
@example(VideoInfo(size=Size(1, 1), fps=Fraction(30000, 1001), duration_s=1, codec="h264"))
@example(VideoInfo(size=Size(1, 1), fps=Fraction(299_700, 10_007), duration_s=1, codec="h264"))
def test_a_rate_that_can_be_made_is_kept_to_the_last_digit(info: VideoInfo) -> None:
    """NTSC rates and averages of variable ones included, whatever `fps` says."""
    assume(1 <= info.fps <= 60)

    plan = make_plan(request_of(fps=12.5), info, CHECKPOINTS["mini"], max_area=None)

    assert plan.fps == info.fps
    assert not {"fps", "match_input_fps"} & {warning.field for warning in plan.warnings}


@settings(deadline=None)
@given(info=sources(), max_area=st.integers(256 * 256, 4096 * 4096))
def test_auto_keeps_the_aspect(info: VideoInfo, max_area: int) -> None:
    """Each side within half a step of the source's own shape at a size of about max_area."""
    width, height = info.size.width, info.size.height
    shrink = min(1, math.sqrt(max_area / info.size.area))
    assume(64 <= width * shrink <= MAX_SIDE and 64 <= height * shrink <= MAX_SIDE)

    plan = make_plan(request_of(), info, CHECKPOINTS["mini"], max_area=max_area)

    assert abs(plan.size.width - width * shrink) <= 32
    assert abs(plan.size.height - height * shrink) <= 32


@pytest.mark.parametrize("checkpoint", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_planning_touches_nothing(checkpoint: Checkpoint) -> None:
    """No file, no network; the request and the facts are as they were."""
    request = request_of(ic_lora="canny", loras=[{"path": "a/b"}])
    info = VideoInfo(size=Size(641, 359), fps=Fraction(30000, 1001), duration_s=2, codec="h264")
    before = request.model_dump_json(), [getattr(info, field.name) for field in fields(info)]
    refused = AssertionError("the plan reached outside")

    with (
        patch.object(builtins, "open", side_effect=refused),
        patch.object(Path, "open", side_effect=refused),
        patch.object(socket.socket, "connect", side_effect=refused),
    ):
        first = make_plan(request, info, checkpoint, max_area=None)
        other = make_plan(request, replace(info, duration_s=3), checkpoint, max_area=None)
        again = make_plan(request, info, checkpoint, max_area=None)

    assert first == again != other
    after = request.model_dump_json(), [getattr(info, field.name) for field in fields(info)]
    assert after == before
