"""What makes a generation fast, each against the same generation without it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import nn

from rotoscope.errors import OperatorError
from rotoscope.generation import pipeline as pipeline_module
from rotoscope.generation.compiled import compile_blocks
from rotoscope.generation.condition import Tokens
from rotoscope.generation.loras import Lora
from rotoscope.generation.mini.networks import make_transformer
from rotoscope.generation.once import computed_once
from rotoscope.generation.pipeline import Generated, Pipeline
from rotoscope.generation.plan import DISTILLED_SIGMAS, SKIP_BELOW, Choices, Plan
from rotoscope.generation.recall import Recall
from rotoscope.generation.skip import skipping
from rotoscope.generation.speed import Speed
from rotoscope.generation.text import TextEmbeddings
from rotoscope.settings import Settings
from tests.generation.conftest import MakePlan, make_image, make_source
from tests.generation.test_timesteps import answers

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


def test_the_same_prompt_and_clip_again_cost_nothing(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """Neither is encoded again for a job that differs in its seed, and no bit of it differs."""
    plan = plan_of()
    source, again = make_source(plan), replace(plan, seed=plan.seed + 1)
    fast = Pipeline(pipeline.models, speed=Speed(recall_bytes=10**8))
    fast.generate(plan, source, None, [], lambda *_: None)
    with counted(pipeline.models.text_encoder.model, pipeline.models.vae.encoder) as calls:
        made = fast.generate(again, source, None, [], lambda *_: None)
    assert calls == []
    assert_same(made, pipeline.generate(again, source, None, [], lambda *_: None))


def test_another_prompt_or_clip_is_encoded(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """One pixel of one frame is another clip; the other half is remembered."""
    plan = plan_of(use_multiscale=False, guidance_scale=1.0)
    source = make_source(plan)
    assert source is not None
    other = source.copy()
    other[-1, 0, 0, 0] ^= 128
    models, fast = pipeline.models, Pipeline(pipeline.models, speed=Speed(recall_bytes=10**8))
    fast.sample(plan, source, None, [], lambda *_: None)
    with counted(models.text_encoder.model, models.vae.encoder) as calls:
        fast.sample(plan, other, None, [], lambda *_: None)
        assert calls == [models.vae.encoder]
        fast.sample(replace(plan, prompt="a dog"), other, None, [], lambda *_: None)
    assert calls == [models.vae.encoder, models.text_encoder.model]


@contextmanager
def counted(*modules: nn.Module) -> Iterator[list[nn.Module]]:
    """Those of `modules` that ran within this context, in order."""
    ran: list[nn.Module] = []
    handles = [one.register_forward_hook(lambda one, *_: ran.append(one)) for one in modules]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


def test_what_is_remembered_is_bounded() -> None:
    """The least recently used goes first; nothing is kept that is larger than the bound."""
    recall, made = Recall(100, torch.device("cpu")), list[str]()

    def ask(key: str, size: int = 10) -> None:
        recall.get(key, lambda: (made.append(key) or torch.zeros(size),))

    for key in ("a", "b", "a", "c", "a", "b"):
        ask(key)
    assert made == ["a", "b", "c", "b"]
    assert recall.taken == 80
    ask("large", 26)
    assert recall.taken == 0


def latents(pipeline: Pipeline, plan: Plan) -> torch.Tensor:
    return pipeline.sample(plan, make_source(plan), None, [], lambda *_: None).video_BCFHW


def test_steps_are_skipped_where_the_guess_goes_straight_on() -> None:
    """A guess that moves along a line is met, and every other step after two is not computed."""
    computed: list[float] = []

    def line(
        video: Tokens, audio_BLD: torch.Tensor, sigma: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        computed.append(sigma)
        return video.noisy_BNC + sigma, audio_BLD - sigma

    sigmas = [1.0, 0.9, 0.7, 0.6, 0.2, 0.1]
    tokens = Tokens(*[torch.ones(1, 2, 3)] * 2, torch.ones(1, 2), torch.ones(1), (1, 1, 2))
    careful, hasty = skipping(line, 0.01), skipping(line, 0.9)
    assert skipping(line, 0.0) is line
    for sigma in sigmas:
        careful(tokens, torch.ones(1, 2, 3), sigma)
    assert computed == sigmas
    computed.clear()
    for sigma in sigmas:
        video, audio = hasty(tokens, torch.ones(1, 2, 3), sigma)
        torch.testing.assert_close(video, torch.full((1, 2, 3), 1 + sigma))
        torch.testing.assert_close(audio, torch.full((1, 2, 3), 1 - sigma))
    assert computed == [1.0, 0.9, 0.6, 0.1]


def test_turbo_is_the_distilled_models_schedule_and_lora(
    as_published: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight steps without guidance, the LoRA of the second pass in the first one too."""
    plan = plan_of(
        checkpoint=as_published.checkpoint, choices=Choices(profile="turbo"), guidance_scale=3.0
    )
    assert plan.passes[0].sigmas == DISTILLED_SIGMAS
    assert {one.guidance_scale for one in plan.passes} == {1.0}
    assert {warning.field for warning in plan.warnings} == {"guidance_scale"}
    worn: list[list[str]] = []
    dress = pipeline_module.merged

    def merged(model: nn.Module, loras: list[Lora]) -> AbstractContextManager[None]:
        worn.append([lora.file.ref for lora in loras])
        return dress(model, loras)

    monkeypatch.setattr(pipeline_module, "merged", merged)
    latents(as_published, plan)
    assert worn == [[as_published.checkpoint.refine_lora]] * 2


def test_turbo_needs_a_distilled_model() -> None:
    """A worker of another one does not start, and says which would do."""
    with pytest.raises(OperatorError, match=r"turbo.* mini .*ltx-2-19b-dev or ltx-2-19b-distilled"):
        Pipeline.open(Settings(profile="turbo"))


def test_a_profile_is_a_set_of_settings_and_each_can_be_another() -> None:
    """Fast leaves steps out, exact none; the setting of its own comes before the profile."""
    exact, fast = (Choices.of(Settings(profile=name)) for name in ("exact", "fast"))
    assert exact == Choices()
    assert (fast.profile, fast.skip_below) == ("fast", SKIP_BELOW["fast"])
    assert fast.skip_below > 0
    assert Choices.of(Settings(profile="fast", skip_below=0)).skip_below == 0
    assert Choices.of(Settings(skip_below=0.25)).skip_below == 0.25


def test_fast_stays_near_exact(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """Fewer passes of the transformer, and a clip within the stated 40 dB of the exact one."""
    plan, counts = plan_of(guidance_scale=3.0, num_inference_steps=20), list[int]()
    fast = replace(plan, choices=Choices.of(Settings(profile="fast")))
    made: list[Generated] = []
    for one in (plan, fast):
        with counted(pipeline.models.transformer) as ran:
            made.append(pipeline.generate(one, make_source(one), None, [], lambda *_: None))
        counts.append(len(ran))
    exact, other = (one.clip.frames_THWC.astype(np.float64) for one in made)
    assert counts[0] == 20 + 3
    assert counts[1] < 0.75 * counts[0]
    assert 10 * np.log10(255**2 / np.mean((exact - other) ** 2)) > 40


def test_blocks_are_compiled_once_for_all_walks(tmp_path: Path) -> None:
    """Neither another block, nor another prompt, nor what a walk keeps, compiles them again."""
    torch.manual_seed(3)
    transformer = make_transformer().eval().requires_grad_(requires_grad=False)
    levels_N = torch.tensor([900.0, 900, 0, 360])
    plain = walk(transformer, levels_N)
    torch._dynamo.reset()
    compiled: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        compiled.append(graph)
        return graph.forward

    torch._dynamo.register_backend(backend, name="counting")
    compile_blocks(transformer, tmp_path, backend="counting")
    for _ in range(2):
        for ours, expected in zip(walk(transformer, levels_N), plain, strict=True):
            torch.testing.assert_close(ours, expected)
    assert len(compiled) == 1


def walk(transformer: LTX2VideoTransformer3DModel, levels_N: torch.Tensor) -> list[torch.Tensor]:
    """What the transformer says where a text of two rows is kept."""
    text = torch.randn(2, 6, transformer.config.caption_channels)
    with (
        torch.inference_mode(),
        computed_once(transformer, TextEmbeddings(text * 0, text * 0), Speed()),
    ):
        return answers(transformer, levels_N)
