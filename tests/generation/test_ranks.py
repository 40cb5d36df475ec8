"""One job in two real processes, against the same generation in one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rotoscope.errors import OperatorError
from rotoscope.generation import ranks
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices
from rotoscope.generation.ranks import TwoRanks, open_pipeline
from rotoscope.settings import Settings
from tests.generation.conftest import MakeLora, MakePlan, assert_alike, make

Open = Callable[..., TwoRanks]


@pytest.fixture
def opened(mini_home: Path) -> Iterator[Open]:
    """Opens pipelines in two processes, which end with the test."""
    known: list[TwoRanks] = []

    def start(**fields: object) -> TwoRanks:
        settings = Settings(data_dir=mini_home, device="cpu", ranks=2, recall_bytes=0)
        two = open_pipeline(settings.model_copy(update=fields))
        assert isinstance(two, TwoRanks)
        known.append(two)
        return two

    yield start
    for two in known:
        if two.helper:
            two.helper.end()


@pytest.fixture
def two(opened: Open) -> TwoRanks:
    return opened()


@pytest.fixture
def halves(opened: Open) -> TwoRanks:
    return opened(sequence_parallel=True)


def test_two_processes_make_what_one_makes(
    pipeline: Pipeline, two: TwoRanks, plan_of: MakePlan, lora_of: MakeLora
) -> None:
    """With a LoRA, then without: the helper wears what its worker wears. Perturbed; at times."""
    plan, lora = plan_of(guidance_scale=3.0), lora_of()
    dressed = make(two, plan, [lora])
    assert_alike(dressed, make(pipeline, plan, [lora]))
    plain = make(two, plan, [])
    assert_alike(plain, make(pipeline, plan, []))
    assert not np.array_equal(dressed.clip.frames_THWC, plain.clip.frames_THWC)

    perturbed = plan_of(choices=Choices(stg_scale=1.0), guidance_scale=3.0)
    assert_alike(make(two, perturbed, []), make(pipeline, perturbed, []))

    at_times = plan_of(choices=Choices(guidance_interval=(0.5, 0.95)), guidance_scale=3.0)
    assert_alike(make(two, at_times, []), make(pipeline, at_times, []))
    assert two.helper


def test_what_goes_wrong_here_or_there_spoils_no_later_job(
    pipeline: Pipeline, two: TwoRanks, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that nobody waited for is not the next one; a lost helper is done without."""
    plan = plan_of(guidance_scale=3.0)
    alone = make(pipeline, plan, [])

    def breaks(inputs: object) -> dict[str, object]:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(ranks, "later_rows", breaks)
        with pytest.raises(MemoryError):
            make(two, plan, [])
    assert_alike(make(two, plan, []), alone)

    assert two.helper
    two.helper._process.kill()
    assert np.array_equal(make(two, plan, []).clip.frames_THWC, alone.clip.frames_THWC)
    assert two.helper is None


def test_halves_of_a_guess_make_the_whole(
    pipeline: Pipeline,
    halves: TwoRanks,
    plan_of: MakePlan,
    lora_of: MakeLora,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a reference and a LoRA; of tokens that cannot be halved evenly; beside guided steps."""
    tokens = halved(monkeypatch)
    plain, lora = plan_of(guidance_scale=1.0), lora_of()
    assert_alike(make(halves, plain, [lora]), make(pipeline, plain, [lora]))
    assert tokens.count(plain.tokens(plain.passes[0])) == 8

    tokens.clear()
    odd = plan_of(
        guidance_scale=1.0,
        video_strength=0.0,
        video_size={"width": 96, "height": 96},
        match_video_length=False,
        num_frames=17,
        use_multiscale=False,
    )
    assert_alike(make(halves, odd), make(pipeline, odd))
    assert tokens == [27] * 8

    tokens.clear()
    at_times = plan_of(choices=Choices(guidance_interval=(0.5, 0.95)), guidance_scale=3.0)
    assert_alike(make(halves, at_times), make(pipeline, at_times))
    assert 0 < len(tokens) < sum(len(one.sigmas) for one in at_times.passes)

    perturbed = plan_of(choices=Choices(stg_scale=1.0), guidance_scale=1.0)
    assert_alike(make(halves, perturbed), make(pipeline, perturbed))
    assert_alike(make(halves, plain), make(pipeline, plain))
    assert halves.helper


def test_halves_need_two_processes(mini_home: Path) -> None:
    """An operator who asked for less than that takes is told."""
    with pytest.raises(OperatorError, match="RANKS=2"):
        open_pipeline(Settings(data_dir=mini_home, device="cpu", sequence_parallel=True))


def halved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each guess had that was halved from here on."""
    tokens: list[int] = []
    real = ranks.forward_half

    def counting(*given: Any) -> object:
        tokens.append(given[-1]["hidden_states"].shape[1])
        return real(*given)

    monkeypatch.setattr(ranks, "forward_half", counting)
    return tokens


def test_no_half_waits_for_the_worker_s_that_failed(
    pipeline: Pipeline, halves: TwoRanks, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amid a step; the next job is made without the helper."""
    plan = plan_of(guidance_scale=1.0)
    block = halves.models.transformer.transformer_blocks[1]

    def breaks(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(block.audio_ff, "forward", breaks)
        with pytest.raises(MemoryError):
            make(halves, plan)
    alone = make(pipeline, plan)
    assert np.array_equal(make(halves, plan).clip.frames_THWC, alone.clip.frames_THWC)
    assert halves.helper is None


def test_a_half_that_is_lost_is_made_up_for(
    pipeline: Pipeline, halves: TwoRanks, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amid a step: the worker computes all of it, and of those after it."""
    plan = plan_of(guidance_scale=1.0)
    layer = halves.models.transformer.transformer_blocks[1].audio_ff
    forward, killed = layer.forward, []

    def kills(*given: object) -> object:
        if not killed:
            assert halves.helper
            halves.helper._process.kill()
            killed.append(True)
        return forward(*given)

    monkeypatch.setattr(layer, "forward", kills)
    made = make(halves, plan)
    assert np.array_equal(made.clip.frames_THWC, make(pipeline, plan).clip.frames_THWC)
    assert halves.helper is None
