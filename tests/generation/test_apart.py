"""The guesses of a step one after the other, against the same in one batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from torch import nn

from rotoscope.errors import OutOfMemoryError
from rotoscope.generation import pipeline as pipeline_module
from rotoscope.generation.memory import USABLE, Room, choose, needed
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Choices
from rotoscope.generation.ranks import TwoRanks
from rotoscope.generation.speed import Speed
from tests.generation.conftest import MakePlan, assert_alike, make, make_source
from tests.generation.test_memory import LTX_2, ONE_PASS, room
from tests.generation.test_memory import plan_of as plan_for_19b

APART = Speed(guidance_batch="apart")


@contextmanager
def batches(pipeline: Pipeline) -> Iterator[set[int]]:
    """The numbers of rows that went through the transformer's first block in this context."""
    block: nn.Module = pipeline.models.transformer.transformer_blocks[0]
    rows: set[int] = set()

    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows.add(len(named["hidden_states"] if "hidden_states" in named else given[0]))

    handle = block.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


@pytest.mark.parametrize("once", [(), APART.once])
def test_apart_makes_what_together_makes(
    pipeline: Pipeline, plan_of: MakePlan, once: tuple[Any, ...]
) -> None:
    """But for roundings, of three rows of which one is perturbed, with text kept and without."""
    plan = plan_of(choices=Choices(stg_scale=1.0), guidance_scale=3.0)
    together = Pipeline(pipeline.models, speed=Speed(once=once, guidance_batch="together"))
    apart = Pipeline(pipeline.models, speed=Speed(once=once, guidance_batch="apart"))
    with batches(pipeline) as rows:
        expected = make(together, plan)
    assert 3 in rows
    with batches(pipeline) as rows:
        assert_alike(make(apart, plan), expected)
    assert rows == {1}


def test_apart_comes_before_offloading() -> None:
    """Where that suffices; what fits into no plan together may fit so."""
    plan = plan_for_19b(**ONE_PASS)
    lean, whole = (needed(LTX_2, plan, "resident", apart=apart) for apart in (True, False))
    assert LTX_2.total < lean < whole
    between = Room(int((lean + whole) / 2 / USABLE), room(1).host)
    assert choose("auto", LTX_2, plan, between) == "offloaded"
    assert choose("auto", LTX_2, plan, between, apart=True) == "resident"


def test_a_job_goes_apart_where_together_would_not_fit(
    pipeline: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the estimate, if guesses may be apart, and if there are several."""
    plan, alone = plan_of(guidance_scale=3.0), plan_of(guidance_scale=1.0)
    # So wide that the passes take more than the codec.
    wide = replace(pipeline.footprint, channels=10**6)
    lean, whole = (needed(wide, plan, "resident", apart=apart) for apart in (True, False))
    assert lean < whole
    tight = Room(int((lean + whole) / 2 / USABLE), None)
    monkeypatch.setattr(Pipeline, "footprint", wide)
    monkeypatch.setattr(pipeline_module, "room_of", lambda *_: tight)
    auto = Pipeline(pipeline.models)
    assert auto.admit(plan) == "resident"
    with batches(auto) as rows:
        auto.sample(plan, make_source(plan), None, [], lambda *_: None)
    assert rows == {1}
    assert not auto.apart(alone)
    together = Pipeline(pipeline.models, speed=Speed(guidance_batch="together"))
    assert not together.apart(plan)
    with pytest.raises(OutOfMemoryError):
        together.admit(plan)
    monkeypatch.setattr(pipeline_module, "room_of", lambda *_: Room(2 * tight.device, None))
    assert not auto.apart(plan)


def test_with_a_helper_guesses_are_apart_already(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """Without it they are as the operator chose."""
    two, plan = TwoRanks(pipeline.models, speed=APART), plan_of(guidance_scale=3.0)
    assert two.apart(plan)
    two.helper = cast("Any", object())
    assert not two.apart(plan)
