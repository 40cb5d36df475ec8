"""generate(): what it makes, that it makes it again, and what each part of a plan changes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rotoscope.generation.codec import encode_frames
from rotoscope.generation.condition import encode_first_frame
from rotoscope.generation.denoise import AudioVideo, denoise
from rotoscope.generation.loras import Lora, merged
from rotoscope.generation.pipeline import Generated, Pipeline
from rotoscope.generation.plan import Choices, InContext, Plan
from rotoscope.generation.text import encode_prompts
from rotoscope.media.clip import Size
from tests.generation.conftest import MakeLora, MakePlan, make_image, make_source


def make(pipeline: Pipeline, plan: Plan, **given: object) -> Generated:
    loras = given.get("loras", ())
    return pipeline.generate(plan, make_source(plan), None, loras, lambda *_: None)  # type: ignore[arg-type]


def test_it_makes_what_was_planned(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """Frames, size and rate as planned, and sound of the picture's length."""
    plan = plan_of()

    clip = make(pipeline, plan).clip

    assert clip.frames_THWC.shape == (9, 64, 128, 3)
    assert clip.frames_THWC.dtype == np.uint8
    assert clip.fps == plan.fps
    assert clip.audio is not None
    seconds = clip.audio.samples_CS.shape[1] / clip.audio.rate
    assert clip.audio.samples_CS.shape[0] == 2
    assert seconds == pytest.approx(float(plan.frames / plan.fps), abs=0.06)
    assert np.abs(clip.audio.samples_CS).max() > 0


def test_without_sound_there_is_none(
    pipeline: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """generate_audio off leaves the picture as it is, and nothing decodes sound."""
    with_sound = make(pipeline, plan_of(generate_audio=True)).clip
    for part in (pipeline.models.audio_vae, pipeline.models.vocoder):
        monkeypatch.setattr(part, "forward", None)
        monkeypatch.setattr(part, "decode", None, raising=False)
    without = make(pipeline, plan_of(generate_audio=False)).clip

    assert without.audio is None
    assert np.array_equal(with_sound.frames_THWC, without.frames_THWC)


@pytest.mark.parametrize("sees", [True, False])
def test_the_second_pass_sees_the_source_where_the_checkpoint_says_so(
    pipeline: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch, sees: bool
) -> None:
    """At its own size: as many tokens of reference as of target, in both passes."""
    plan = plan_of(checkpoint=replace(pipeline.checkpoint, refine_sees_reference=sees))
    counted: list[tuple[int, ...]] = []

    def counting(denoiser: Any, state: AudioVideo, sigmas: Any, on_step: Any) -> AudioVideo:
        counted.append((len(sigmas), state.video.noisy_BNC.shape[1]))
        return denoise(denoiser, state, sigmas, on_step)

    monkeypatch.setattr("rotoscope.generation.walk.denoise", counting)
    make(pipeline, plan)

    half, full = 2 * 1 * 2, 2 * 2 * 4
    assert counted == [(8, 2 * half), (3, 2 * full if sees else full)]


@pytest.mark.parametrize("sees", [True, False])
def test_an_ic_lora_acts_where_the_reference_is(
    pipeline: Pipeline,
    plan_of: MakePlan,
    lora_of: MakeLora,
    monkeypatch: pytest.MonkeyPatch,
    sees: bool,
) -> None:
    """In the second pass too, if that sees the source; other LoRAs act in both anyway."""
    acted: list[list[str]] = []

    def noting(model: Any, loras: Sequence[Lora]) -> AbstractContextManager[None]:
        acted.append([lora.file.ref for lora in loras])
        return merged(model, loras)

    monkeypatch.setattr("rotoscope.generation.pipeline.merged", noting)
    style, control = lora_of(), lora_of(metadata={"reference_downscale_factor": "1"})
    plan = plan_of(checkpoint=replace(pipeline.checkpoint, refine_sees_reference=sees))
    make(pipeline, plan, loras=[style, control])

    assert acted == [[style.ref, control.ref], [style.ref, control.ref] if sees else [style.ref]]


def test_the_refining_lora_acts_in_the_second_pass_alone(
    as_published: Pipeline,
    plan_of: MakePlan,
    lora_of: MakeLora,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a checkpoint that has one, after the request's own, at the checkpoint's scale."""
    acted: list[list[tuple[str, float]]] = []

    def noting(model: Any, loras: Sequence[Lora]) -> AbstractContextManager[None]:
        acted.append([(lora.file.ref, lora.file.scale) for lora in loras])
        return merged(model, loras)

    monkeypatch.setattr("rotoscope.generation.pipeline.merged", noting)
    style, row = lora_of(scale=0.5), replace(as_published.checkpoint, refine_lora_scale=0.7)
    refined = Pipeline(replace(as_published.models, checkpoint=row))
    make(refined, plan_of(checkpoint=row), loras=[style])

    assert acted == [[(style.ref, 0.5)], [(style.ref, 0.5), (row.refine_lora, 0.7)]]


def test_a_seed_names_a_clip(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """The same seed makes the same frames and sound, another seed others; 0 is a seed."""
    first, again, other = (make(pipeline, plan_of(seed=seed)).clip for seed in (0, 0, 1))

    assert np.array_equal(first.frames_THWC, again.frames_THWC)
    assert first.audio is not None
    assert again.audio is not None
    assert np.array_equal(first.audio.samples_CS, again.audio.samples_CS)
    assert not np.array_equal(first.frames_THWC, other.frames_THWC)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "the sea at night"},
        {"negative_prompt": "sharp"},
        {"guidance_scale": 7.0},
        {"num_inference_steps": 12},
        {"use_multiscale": False},
        {"video_strength": 0.5},
        {"video_strength": 0},
        {"match_input_fps": False, "fps": 12, "match_video_length": False, "num_frames": 17},
    ],
    ids=lambda change: ", ".join(f"{name} {value}" for name, value in change.items()),
)
def test_each_value_has_an_effect(
    pipeline: Pipeline, plan_of: MakePlan, change: dict[str, object]
) -> None:
    """A parameter that changes nothing would be a parameter that is not there."""
    usual = make(pipeline, plan_of()).clip.frames_THWC
    changed = make(pipeline, plan_of(**change)).clip.frames_THWC

    assert changed.shape[1:] == usual.shape[1:]
    assert not np.array_equal(usual, changed)


def test_guidance_1_needs_no_negative_prompt(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """With guidance off, the negative prompt changes nothing."""
    first, second = (
        make(pipeline, plan_of(guidance_scale=1, negative_prompt=text)).clip.frames_THWC
        for text in ("blurry", "sharp")
    )

    assert np.array_equal(first, second)


def test_a_lora_acts_and_leaves_no_trace(
    pipeline: Pipeline, plan_of: MakePlan, lora_of: MakeLora
) -> None:
    """It changes the clip it was asked for, says what it did, and not the next clip."""
    plan, file = plan_of(), lora_of(scale=1.5)

    before = make(pipeline, plan)
    styled = make(pipeline, plan, loras=[file])
    after = make(pipeline, plan)

    assert not np.array_equal(before.clip.frames_THWC, styled.clip.frames_THWC)
    assert np.array_equal(before.clip.frames_THWC, after.clip.frames_THWC)
    (facts,) = styled.loras
    assert (facts.path, facts.scale, facts.rank) == (file.ref, 1.5, 4)
    assert facts.layers > 0
    assert styled.warnings == ()


def test_layers_left_out_are_a_warning(
    pipeline: Pipeline, plan_of: MakePlan, lora_of: MakeLora
) -> None:
    """A LoRA that fits in part names what it could not change."""
    file = lora_of(layer=lambda name: f"diffusion_model.{name}".replace("blocks.2", "blocks.47"))

    (warning,) = make(pipeline, plan_of(), loras=[file]).warnings

    assert warning.field == "loras.0.path"
    assert "blocks.47" in warning.why


def test_an_ic_lora_without_a_source_does_nothing_and_says_so(
    pipeline: Pipeline, plan_of: MakePlan, lora_of: MakeLora
) -> None:
    """At video_strength 0 it has nothing to act on."""
    plan, file = plan_of(video_strength=0), lora_of(metadata={"reference_downscale_factor": "1"})

    free, asked = make(pipeline, plan), make(pipeline, plan, loras=[file])

    assert np.array_equal(free.clip.frames_THWC, asked.clip.frames_THWC)
    (warning,) = asked.warnings
    assert (warning.field, warning.asked, warning.used) == (file.field, file.ref, None)
    assert "video_strength" in warning.why


def test_two_ic_loras_both_act_and_it_is_said(
    pipeline: Pipeline, plan_of: MakePlan, lora_of: MakeLora
) -> None:
    """Whether one is known by its metadata or by its name."""
    known, told = lora_of(), lora_of(metadata={"reference_downscale_factor": "1"})
    known = replace(known, in_context=True, field="ic_lora")
    plan = plan_of()

    one, both = make(pipeline, plan, loras=[told]), make(pipeline, plan, loras=[told, known])

    assert not np.array_equal(one.clip.frames_THWC, both.clip.frames_THWC)
    assert one.warnings == ()
    (warning,) = both.warnings
    assert (warning.field, warning.used) == ("ic_lora", [told.ref, known.ref])


def test_the_first_frame_is_kept(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """The image takes the first frame's place: its latents come out as they went in."""
    plan = plan_of(image_url="https://a.test/i.png", use_multiscale=False)
    image = make_image(plan)

    kept = pipeline.sample(plan, make_source(plan), image, [], lambda *_: None)
    other = pipeline.sample(plan, make_source(plan), image[::-1].copy(), [], lambda *_: None)
    free = pipeline.sample(plan, make_source(plan), None, [], lambda *_: None)

    first = slice(0, 1)
    assert not kept.video_BCFHW[:, :, first].equal(free.video_BCFHW[:, :, first])
    assert not kept.video_BCFHW[:, :, first].equal(other.video_BCFHW[:, :, first])
    other_seed = plan_of(image_url="https://a.test/i.png", use_multiscale=False, seed=9)
    again = pipeline.sample(other_seed, make_source(plan), image, [], lambda *_: None)
    difference = kept.video_BCFHW - again.video_BCFHW
    assert difference[:, :, first].abs().max() < 1e-4
    assert difference[:, :, 1:].abs().max() > 1e-2


def test_progress_is_told_step_by_step(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """Every stage of the plan is told, in order, and every denoising step."""
    told: list[tuple[str, int, int]] = []
    plan = plan_of()

    pipeline.generate(plan, make_source(plan), None, [], lambda *at: told.append(at))

    assert list(dict.fromkeys(stage for stage, _, _ in told)) == list(plan.costs)
    assert [at for at in told if at[0] == "denoise"] == [("denoise", n, 8) for n in range(1, 9)]
    assert [at for at in told if at[0] == "refine"] == [("refine", n, 3) for n in range(1, 4)]


def test_what_the_report_raises_ends_the_generation(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """That is how a lost lease or a shutdown stops it, at the next step."""
    plan = plan_of()
    steps = []

    def stop(stage: str, done: int, total: int) -> None:
        steps.append((stage, done))
        if stage == "denoise" and done == 3:
            raise KeyError(stage)

    with pytest.raises(KeyError):
        pipeline.generate(plan, make_source(plan), None, [], stop)

    assert steps[-1] == ("denoise", 3)


def test_the_published_default_prompt_is_many_tokens(pipeline: Pipeline) -> None:
    """A tokenizer that merges across words makes one unseen token of it, and no style."""
    tokenizer = pipeline.models.tokenizer
    prompt = "black-and-white video, a girl is playing a guitar, film grain"

    assert len(tokenizer(prompt).input_ids) > len(prompt.split())
    assert tokenizer.decode(tokenizer("sepia").input_ids, skip_special_tokens=True).strip() == (
        "sepia"
    )


def test_prompts_are_told_apart(pipeline: Pipeline) -> None:
    """Two prompts, two embeddings; a row does not depend on its neighbour."""
    pair = encode_prompts(pipeline.models, ["a cat", "a dog"])
    alone = encode_prompts(pipeline.models, ["a dog"])

    assert not pair.video_BLD[0].equal(pair.video_BLD[1])
    assert (pair.video_BLD[1] - alone.video_BLD[0]).abs().max() < 1e-4
    assert pair.video_BLD.shape[1] == pipeline.checkpoint.text_tokens


@pytest.mark.parametrize(
    "choices",
    [
        Choices(stg_scale=1.0),
        Choices(plain_video="sdedit"),
        Choices(detailer="three-step"),
    ],
    ids=["stg", "sdedit", "three steps"],
)
def test_each_choice_of_the_operator_makes_another_clip(
    pipeline: Pipeline, plan_of: MakePlan, choices: Choices
) -> None:
    """Of the same request and seed; the model is afterwards as it was."""
    detailer = InContext(1, detailer_alone=True) if choices.detailer == "three-step" else None
    usual, chosen = (
        plan_of(choices=one, in_context=detailer, video_strength=0.5, generate_audio=False)
        for one in (None, choices)
    )

    before, made, after = (make(pipeline, plan) for plan in (usual, chosen, usual))

    assert not np.array_equal(before.clip.frames_THWC, made.clip.frames_THWC)
    assert np.array_equal(before.clip.frames_THWC, after.clip.frames_THWC)


def test_a_first_frame_is_as_degraded_as_in_training(pipeline: Pipeline) -> None:
    """Grain that x264 drops at crf 33 hardly reaches the codec; left in, it would."""
    grain = np.random.default_rng(0).integers(-2, 3, (64, 128, 1))
    flat = np.full((64, 128, 3), 128, np.uint8)
    grainy = (flat + grain).astype(np.uint8)

    with torch.inference_mode():
        as_given = [encode_frames(pipeline.models, image[None]) for image in (flat, grainy)]
        degraded = [
            encode_first_frame(pipeline.models, image, Size(128, 64)) for image in (flat, grainy)
        ]
    before, after = (float((one - other).abs().mean()) for one, other in (as_given, degraded))

    assert before > 0
    assert after < 0.2 * before
