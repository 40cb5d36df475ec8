"""Guidance in two real processes, against the same generation in one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rotoscope.generation import ranks
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices
from rotoscope.generation.ranks import TwoRanks, open_pipeline
from rotoscope.settings import Settings
from tests.generation.conftest import MakeLora, MakePlan, assert_alike, make


@pytest.fixture
def two(mini_home: Path) -> Iterator[TwoRanks]:
    settings = Settings(data_dir=mini_home, device="cpu", ranks=2, recall_bytes=0)
    opened = open_pipeline(settings)
    assert isinstance(opened, TwoRanks)
    yield opened
    if opened.helper:
        opened.helper.end()


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
