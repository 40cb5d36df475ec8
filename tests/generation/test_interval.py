"""Guidance at some noise levels only, against guidance at all and at none."""

import pytest
import torch
from pydantic import ValidationError

from rotoscope.generation.condition import Tokens
from rotoscope.generation.denoise import Denoiser
from rotoscope.generation.interval import as_chosen
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices
from rotoscope.settings import Settings
from tests.generation.conftest import MakePlan, assert_alike, make

SIGMAS = [1.0, 0.9, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1]


@pytest.mark.parametrize(("stg_scale", "guided"), [(0.0, 2), (1.0, 3)])
def test_a_step_outside_computes_one_row(
    pipeline: Pipeline, plan_of: MakePlan, stg_scale: float, guided: int
) -> None:
    """Inside as many as guidance needs; both passes; with a perturbed row too."""
    choices = Choices(guidance_interval=(0.5, 0.95), stg_scale=stg_scale)
    plan, rows = plan_of(choices=choices, guidance_scale=3.0), list[int]()
    handle = pipeline.models.transformer.register_forward_pre_hook(
        lambda _, __, inputs: rows.append(len(inputs["hidden_states"])), with_kwargs=True
    )
    make(pipeline, plan)
    handle.remove()
    first, second = plan.passes
    inside = [0.5 <= sigma <= 0.95 for sigma in (*first.sigmas, *second.sigmas)]
    most = [guided] * len(first.sigmas) + [second.rows] * len(second.sigmas)
    assert rows == [here if some else 1 for some, here in zip(inside, most, strict=True)]
    assert True in inside[:8]
    assert False in inside[:8]


def test_an_interval_without_steps_is_no_guidance(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """The clip of guidance scale 1, but for roundings; with all of them it is another."""
    nowhere = plan_of(choices=Choices(guidance_interval=(0.0, 0.001)), guidance_scale=3.0)
    unguided = make(pipeline, plan_of(guidance_scale=1.0))
    assert_alike(make(pipeline, nowhere), unguided)
    guided = make(pipeline, plan_of(guidance_scale=3.0))
    with pytest.raises(AssertionError):
        assert_alike(guided, unguided)


def test_no_step_is_skipped_across_an_end_of_the_interval() -> None:
    """Guesses on one line are skipped on each side by itself, and met there."""
    computed: list[tuple[str, float]] = []

    def line(name: str, height: float) -> Denoiser:
        def guess(
            video: Tokens, audio_BLD: torch.Tensor, sigma: float
        ) -> tuple[torch.Tensor, torch.Tensor]:
            computed.append((name, sigma))
            return video.noisy_BNC + height + sigma, audio_BLD

        return guess

    tokens = Tokens(*[torch.ones(1, 2, 3)] * 2, torch.ones(1, 2), torch.ones(1), (1, 1, 2))
    choices = Choices(guidance_interval=(0.5, 0.9), skip_below=0.9)
    denoiser = as_chosen(line("guided", 5.0), line("plain", 1.0), choices)
    for sigma in SIGMAS:
        video, _ = denoiser(tokens, torch.ones(1, 2, 3), sigma)
        height = 5.0 if 0.5 <= sigma <= 0.9 else 1.0
        torch.testing.assert_close(video, torch.full((1, 2, 3), 1 + height + sigma))
    plain, guided = [("plain", 1.0)], [("guided", sigma) for sigma in (0.9, 0.7, 0.5)]
    assert computed == [*plain, *guided, ("plain", 0.4), ("plain", 0.3)]


def test_a_plan_costs_what_its_steps_compute(plan_of: MakePlan) -> None:
    """Half where none is guided, and as much as without an interval where all are."""
    whole, half, part = (
        plan_of(choices=Choices(guidance_interval=interval), guidance_scale=3.0).costs["denoise"]
        for interval in ((0.1, 1.0), (0.0, 0.05), (0.5, 1.0))
    )
    assert whole == plan_of(guidance_scale=3.0).costs["denoise"]
    assert half == whole / 2
    assert half < part < whole


def test_an_interval_is_two_levels() -> None:
    """As the environment writes it; what is none is refused by its name."""
    assert Settings(guidance_interval="0.2, 0.9").guidance_interval == (0.2, 0.9)  # type: ignore[arg-type]
    chosen = Choices.of(Settings(guidance_interval=(0.2, 0.9)))
    assert [chosen.guides(sigma) for sigma in (0.1, 0.2, 0.9, 1.0)] == [False, True, True, False]
    for wrong in ("0.9,0.2", "0.5", "0,2", "low,high", "0.5,0.5"):
        with pytest.raises(ValidationError, match="guidance_interval"):
            Settings(guidance_interval=wrong)  # type: ignore[arg-type]
