"""From a request and a source's facts to a plan; nothing is adjusted silently."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotoscope.generation.plan import (
    Choices,
    InContext,
    Plan,
    Reference,
    dev_sigmas,
    make_plan,
)
from rotoscope.generation.weights import CHECKPOINTS, REFINE_SIGMAS
from rotoscope.media.clip import Size, VideoInfo
from rotoscope.schema.input import CameraLora, IcLora, VideoToVideoInput

DEV = CHECKPOINTS["ltx-2-19b-dev"]
DISTILLED = CHECKPOINTS["ltx-2-19b-distilled"]
HD = VideoInfo(size=Size(1280, 720), fps=Fraction(25), duration_s=4.88, codec="h264")


def request_of(**fields: object) -> VideoToVideoInput:
    asked = {"prompt": "a cat", "video_url": "https://a.test/v.mp4", "loras": []}
    return VideoToVideoInput.model_validate_json(json.dumps(asked | fields))


def plan_of(info: VideoInfo = HD, max_area: int | None = None, **fields: object) -> Plan:
    return make_plan(request_of(**fields), info, DEV, max_area=max_area)


def used(plan: Plan) -> dict[str, object]:
    return {warning.field: warning.used for warning in plan.warnings}


def test_the_default_request_on_a_720p_clip() -> None:
    """Its length and rate are the source's, its size the nearest that two stages can make."""
    plan = plan_of()

    assert (plan.size, plan.frames, plan.fps) == (Size(1280, 704), 121, 25)
    assert plan.reference == Reference(Size(640, 352), 121)
    assert [one.size for one in plan.passes] == [Size(640, 352), Size(1280, 704)]
    assert [len(one.sigmas) for one in plan.passes] == [40, 3]
    assert [one.guidance_scale for one in plan.passes] == [3, 1]
    assert used(plan) == {"num_frames": 121, "video_size": "1280x704"}


def test_a_checkpoint_may_see_the_reference_in_both_passes() -> None:
    """It is then read at the full size, and each pass pays for its own."""
    seeing = replace(DEV, refine_sees_reference=True)
    once, twice = (make_plan(request_of(), HD, one, max_area=None) for one in (DEV, seeing))

    assert twice.reference == Reference(Size(1280, 704), 121)
    assert [one.reference for one in once.passes] == [True, False]
    assert [one.reference for one in twice.passes] == [True, True]
    assert twice.costs["condition"] == 5 * once.costs["condition"]
    assert twice.costs["refine"] > 2 * once.costs["refine"]
    for stage in ("text", "denoise", "upsample", "decode"):
        assert twice.costs[stage] == once.costs[stage]


def test_a_checkpoint_has_its_own_second_pass() -> None:
    """Its noise levels, and guidance up to its own limit."""
    own = replace(DEV, refine_sigmas=(0.6, 0.2), refine_guidance=4.0)

    for asked, used_again in ((1, 1), (3, 3), (4, 4), (9, 4)):
        plan = make_plan(request_of(guidance_scale=asked), HD, own, max_area=None)
        first, second = plan.passes
        assert (first.guidance_scale, second.guidance_scale) == (asked, used_again)
        assert (len(first.sigmas), second.sigmas) == (40, (0.6, 0.2))


def test_mini_keeps_its_source_through_the_second_pass() -> None:
    """It starts from less noise than LTX-2 does, sees the source, and is guided."""
    plan = make_plan(request_of(), HD, CHECKPOINTS["mini"], max_area=None)
    _, second = plan.passes

    assert second.reference
    assert second.guidance_scale == plan.guidance_scale == 3
    assert max(second.sigmas) < max(REFINE_SIGMAS)
    assert plan_of().passes[1].sigmas == REFINE_SIGMAS
    assert used(plan).keys() == {"num_frames", "video_size"}


def test_no_strength_no_reference_in_either_pass() -> None:
    """Whatever the checkpoint could see, or with one pass alone."""
    seeing = replace(DEV, refine_sees_reference=True)
    plan = make_plan(request_of(video_strength=0), HD, seeing, max_area=None)
    single = make_plan(request_of(use_multiscale=False), HD, seeing, max_area=None)

    assert plan.reference is None
    assert not any(one.reference for one in plan.passes)
    assert single.reference == Reference(single.size, 121)


@pytest.mark.parametrize(("asked", "made"), [(9, 9), (12, 9), (13, 17), (100, 97), (481, 481)])
def test_frames_that_were_asked_for_are_snapped_to_the_nearest(asked: int, made: int) -> None:
    """With match_video_length off, num_frames counts; the source's length does not."""
    plan = plan_of(match_video_length=False, num_frames=asked, fps=25)

    assert plan.frames == made
    assert ("num_frames" in used(plan)) == (asked != made)


def test_a_source_that_ends_early_leaves_the_rest_free() -> None:
    """The reference covers what there is, and the answer says so."""
    plan = plan_of(match_video_length=False, num_frames=241)

    assert plan.reference is not None
    assert (plan.frames, plan.reference.frames) == (241, 121)
    assert used(plan)["video_url"] == 121


def test_no_strength_no_reference() -> None:
    """At video_strength 0 the source is not even read."""
    plan = plan_of(video_strength=0)

    assert plan.reference is None
    assert not any(one.reference for one in plan.passes)


def test_an_ic_lora_without_a_source_is_left_out_and_said() -> None:
    """There is nothing for it to act on; one that would not act anyway is not mentioned."""
    plan = plan_of(video_strength=0, ic_lora="canny")

    (warning,) = (one for one in plan.warnings if one.field == "ic_lora")
    assert (warning.asked, warning.used) == ("canny", "none")
    assert "video_strength" in warning.why
    assert "ic_lora" not in used(plan_of(ic_lora="canny"))
    assert "ic_lora" not in used(plan_of(video_strength=0))
    assert "ic_lora" not in used(plan_of(video_strength=0, ic_lora="canny", ic_lora_scale=0))


def test_every_name_of_the_schema_has_a_lora() -> None:
    """Of every checkpoint, for both fields."""
    for checkpoint in CHECKPOINTS.values():
        assert {*checkpoint.ic_loras, "match_preprocessor", "none"} == {*get_args(IcLora)}
        assert {*checkpoint.camera_loras, "none"} == {*get_args(CameraLora)}


def test_twenty_seconds_at_most() -> None:
    """A slow clip of 481 frames would run past the positions the model was trained on."""
    slow = VideoInfo(size=Size(640, 384), fps=Fraction(12), duration_s=60, codec="h264")

    plan = plan_of(slow)

    assert plan.frames == 241
    assert "20 seconds" in plan.warnings[0].why


def test_rates_are_kept_exact() -> None:
    """NTSC rates stay fractions; a decimal number that means one becomes one."""
    ntsc = VideoInfo(size=Size(640, 384), fps=Fraction(30000, 1001), duration_s=2, codec="h264")

    assert plan_of(ntsc).fps == Fraction(30000, 1001)
    assert plan_of(ntsc, match_input_fps=False, fps=23.976).fps == Fraction(24000, 1001)
    assert plan_of(ntsc, match_input_fps=False, fps=25).fps == 25


def test_the_operators_cap_holds_the_area() -> None:
    """The aspect is kept; the cap is named in the warning."""
    plan = plan_of(max_area=512 * 288)

    assert plan.size == Size(512, 256)
    assert "147456" in plan.warnings[-1].why


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("square_hd", Size(1024, 1024)),
        ("portrait_16_9", Size(576, 1024)),
        ("landscape_4_3", Size(1024, 768)),
        ({"width": 700, "height": 100}, Size(704, 128)),
    ],
)
def test_sizes_by_name_and_by_number(asked: object, made: Size) -> None:
    """Names are exact; numbers are rounded to what the model can make."""
    assert plan_of(video_size=asked).size == made


def test_the_distilled_model_keeps_its_own_schedule() -> None:
    """Steps and guidance do not apply to it, and the answer says so."""
    plan = make_plan(request_of(), HD, DISTILLED, max_area=None)

    assert (plan.steps, plan.guidance_scale) == (8, 1)
    assert used(plan)["num_inference_steps"] == 8
    assert used(plan)["guidance_scale"] == 1


SDEDIT = Choices(plain_video="sdedit")
THREE_STEPS = Choices(detailer="three-step")


def chosen(choices: Choices, in_context: InContext | None = None, **fields: object) -> Plan:
    return make_plan(
        request_of(**fields), HD, DEV, max_area=None, choices=choices, in_context=in_context
    )


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.77, 1.0])
def test_the_operator_may_start_from_the_source(strength: float) -> None:
    """The stronger it is, the less noise it starts from; no pass looks at it then."""
    plan = chosen(SDEDIT, video_strength=strength)
    first, second = plan.passes

    assert first.sigmas[0] == pytest.approx(1 - 0.9 * strength)
    assert set(first.sigmas[1:]) <= set(dev_sigmas(40))
    assert (first.from_source, second.from_source) == (True, False)
    assert not first.reference
    assert plan.reference == Reference(Size(640, 352), 121)
    assert used(plan)["num_inference_steps"] == len(first.sigmas)


@pytest.mark.parametrize(
    "fields",
    [
        {"ic_lora": "canny"},
        {"preprocessor": "depth", "ic_lora": "none"},
        {"loras": [{"path": "Lightricks/LTX-2-19b-IC-LoRA-Detailer"}]},
    ],
)
def test_only_a_plain_source_is_started_from(fields: dict[str, object]) -> None:
    """Controls are to look at; and with strength 0 there is nothing to start from."""
    assert chosen(SDEDIT, **fields).way == "reference"
    assert chosen(SDEDIT, video_strength=0).way == "free"
    assert chosen(SDEDIT, video_strength=0).passes == plan_of(video_strength=0).passes


def test_the_detailer_as_it_was_published() -> None:
    """Three steps at the full size, from the source, with it as reference, without guidance."""
    plan = chosen(Choices(detailer="three-step", stg_scale=1), ic_lora="detailer")
    (only,) = plan.passes

    assert (only.size, only.sigmas, only.guidance_scale) == (plan.size, REFINE_SIGMAS, 1)
    assert (only.reference, only.from_source, only.stg_scale) == (True, True, 0)
    assert plan.reference == Reference(plan.size, 121)
    told = used(plan)
    assert (told["num_inference_steps"], told["guidance_scale"]) == (3, 1)
    assert told["use_multiscale"] is False


@pytest.mark.parametrize(
    "fields",
    [
        {"ic_lora": "canny"},
        {"ic_lora": "canny", "loras": [{"path": DEV.ic_loras["detailer"]}]},
        {"ic_lora": "detailer", "ic_lora_scale": 0},
        {"ic_lora": "detailer", "video_strength": 0},
        {},
    ],
)
def test_the_published_way_is_for_the_detailer_alone(fields: dict[str, object]) -> None:
    """Beside another, at scale 0 or without a source, all is as usual."""
    assert chosen(THREE_STEPS, **fields).passes == plan_of(**fields).passes


def test_the_detailer_among_the_loras_is_the_detailer() -> None:
    """By its repository, at any revision, as in the published example."""
    path = f"{DEV.ic_loras['detailer']}@main"

    assert chosen(THREE_STEPS, loras=[{"path": path, "scale": 1}]).way == "three-step"
    assert chosen(THREE_STEPS, loras=[{"path": path, "scale": 0}]).way == "reference"


def test_perturbed_guidance_is_for_the_first_pass_of_a_full_model() -> None:
    """It costs a third row of each of its steps."""
    plan, usual = chosen(Choices(stg_scale=1.5)), plan_of()

    assert [one.stg_scale for one in plan.passes] == [1.5, 0]
    assert plan.costs["denoise"] == pytest.approx(1.5 * usual.costs["denoise"])
    distilled = make_plan(
        request_of(), HD, DISTILLED, max_area=None, choices=Choices(stg_scale=1.5)
    )
    assert [one.stg_scale for one in distilled.passes] == [0, 0]


@pytest.mark.parametrize(
    ("downscale", "multiscale", "size", "read"),
    [
        (2, True, Size(1280, 768), Size(320, 192)),
        (2, False, Size(1280, 704), Size(640, 352)),
        (3, False, Size(1248, 768), Size(416, 256)),
    ],
)
def test_a_smaller_reference(downscale: int, multiscale: bool, size: Size, read: Size) -> None:
    """It is read smaller, costs less, and the sides are multiples of what it needs."""
    plan = chosen(Choices(), InContext(1, downscale), use_multiscale=multiscale)

    assert (plan.size, plan.reference) == (size, Reference(read, 121))
    whole = chosen(Choices(), InContext(1), use_multiscale=multiscale)
    assert plan.costs["condition"] < whole.costs["condition"] / 2
    assert f"multiples of {32 * downscale * (1 + multiscale)}" in plan.warnings[-1].why
    assert chosen(Choices(), InContext(1, downscale), video_strength=0).downscale == 1


def test_sides_are_capped() -> None:
    """At what the largest passes can have."""
    plan = plan_of(video_size={"width": 4096, "height": 2100})

    assert plan.size == Size(2048, 2048)
    assert used(plan)["video_size"] == "2048x2048"


@given(steps=st.integers(8, 50))
def test_the_schedule_falls_from_noise_to_a_tenth(steps: int) -> None:
    """One sigma a step, from 1 to 0.1, each below the one before."""
    sigmas = dev_sigmas(steps)

    assert len(sigmas) == steps
    assert sigmas[0] == 1
    assert sigmas[-1] == pytest.approx(0.1)
    assert all(late < early for early, late in pairwise(sigmas))
