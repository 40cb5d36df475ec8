"""What makes a generation fast, each against the same generation without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rotoscope.generation.pipeline import Generated, Pipeline
from rotoscope.generation.plan import Choices, Plan
from rotoscope.generation.recall import Recall
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
