"""Where weights are: moved and brought back exactly, in 8 bits, with LoRAs beside them."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rotoscope.generation import pipeline as pipeline_module
from rotoscope.generation.attach import attached
from rotoscope.generation.loras import merged, open_lora
from rotoscope.generation.memory import Mode, Room
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.placement import Placement, to_fp8, visiting
from rotoscope.generation.plan import Plan
from tests.generation.conftest import MakeLora, MakePlan, make_source

CPU, META = torch.device("cpu"), torch.device("meta")


class Copying(Placement):
    """Takes copies for weights on a device."""

    def bring(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()


def make_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.Linear(64, 16), nn.BatchNorm1d(16))


def pointers(module: nn.Module) -> list[int]:
    return [tensor.data_ptr() for tensor in chain(module.parameters(), module.buffers())]


def devices(module: nn.Module) -> set[torch.device]:
    return {tensor.device for tensor in chain(module.parameters(), module.buffers())}


def test_a_part_is_on_the_device_while_it_is_used() -> None:
    """And its weights at home are the very same memory before and after."""
    net = make_net()
    before = pointers(net)

    with visiting(net, torch.clone):
        assert not set(before) & set(pointers(net))
        net[0].weight.data.zero_()

    assert pointers(net) == before
    assert net[0].weight.abs().max() > 0


def test_a_part_comes_home_from_an_error() -> None:
    """Also in 8 bits, and in the middle of a layer."""
    net = make_net()
    before, weights = pointers(net), [tensor.clone() for tensor in net.parameters()]

    with pytest.raises(RuntimeError), visiting(net, torch.clone, fp8=True):
        net(torch.zeros(2, 33))

    assert pointers(net) == before
    assert all(torch.equal(*pair) for pair in zip(weights, net.parameters(), strict=True))
    assert net(torch.zeros(2, 32)).shape == (2, 16)


@pytest.mark.parametrize(
    ("mode", "moved"), [("resident", set()), ("offloaded", {"a"}), ("fp8", {"a"})]
)
def test_only_what_is_used_moves(mode: Mode, moved: set[str]) -> None:
    """Resident parts are where they should be already."""
    parts = {"a": make_net(), "b": make_net()}
    placement = Copying(parts, CPU, mode)
    before = {name: pointers(part) for name, part in parts.items()}

    with placement.using("a"):
        assert {name for name, part in parts.items() if pointers(part) != before[name]} == moved
    with placement.using():
        assert pointers(parts["a"]) == before["a"]


def test_home_moves_with_the_plan() -> None:
    """To the device for `resident`; what never left it is not touched."""
    net = make_net()
    placement = Placement({"net": net}, META, "offloaded")

    placement.settle("fp8")
    assert devices(net) == {CPU}
    placement.settle("resident")
    assert devices(net) == {META}


def test_eight_bits_hold_small_weights() -> None:
    """Each row to one part in sixteen of each number and its own range, however small it is."""
    weight = torch.randn(8, 256) * torch.logspace(-6, 2, 8)[:, None]
    weight[3] = 0

    stored, scale = to_fp8(weight)
    error = (stored.float() * scale - weight).abs()

    assert stored.element_size() == 1
    assert (error <= weight.abs() / 16 + weight.abs().amax(1, keepdim=True) / 448 / 512).all()
    assert error[3].max() == 0


def test_eight_bits_are_stored_and_the_sum_is_close() -> None:
    """Between its uses a layer holds no weight in full, and keeps its type."""
    net = make_net().eval()
    x = torch.randn(4, 32)
    exact = net(x)

    with torch.no_grad(), visiting(net, torch.clone, fp8=True):
        assert [layer.weight.numel() for layer in net if isinstance(layer, nn.Linear)] == [0, 0]
        assert net[0].weight.dtype == torch.float32
        close = net(x)
        assert net[0].weight.numel() == 0

    assert 0 < (close - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_shared_weight_stays_whole() -> None:
    """As that of a language model's head, which is its embedding too."""
    net = nn.ModuleDict({"embed": nn.Embedding(8, 4), "head": nn.Linear(4, 8, bias=False)})
    net["head"].weight = net["embed"].weight

    with visiting(net, torch.clone, fp8=True):
        assert net["embed"](torch.tensor([7])).shape == (1, 4)
        assert net["head"](torch.ones(1, 4)).shape == (1, 8)


def test_beside_the_weights_is_as_good_as_merged(pipeline: Pipeline, lora_of: MakeLora) -> None:
    """The same change of a layer's answer, up to float32's rounding; none is left afterwards."""
    model = pipeline.models.transformer
    loras = [open_lora(lora_of(scale=scale, seed=7 + i), model) for i, scale in enumerate((0.5, 2))]
    layer = model.get_submodule(next(iter(loras[0].deltas)))
    x = torch.randn(1, 5, layer.in_features)

    with torch.inference_mode():
        plain = layer(x)
        with merged(model, loras):
            expected = layer(x)
        with attached(model, loras):
            added = layer(x)
        assert torch.equal(layer(x), plain)

    assert (added - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (expected - plain).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("mode", ["offloaded", "fp8"])
def test_the_small_checkpoint_under_each_plan(
    pipeline: Pipeline, plan_of: MakePlan, lora_of: MakeLora, mode: Mode
) -> None:
    """Offloading changes no bit; 8 bits stay near it; a LoRA acts in both."""
    plan, file = plan_of(guidance_scale=1, use_multiscale=mode == "offloaded"), lora_of(size=0.03)
    usual, plain = made_with(pipeline, plan, [file]), made_with(pipeline, plan, [])
    lean = Pipeline(pipeline.models, mode)
    try:
        made = made_with(lean, plan, [file])
    finally:
        pipeline.models.placement.settle("resident")

    assert lean.admit(plan) == mode
    if mode == "offloaded":
        assert np.array_equal(made, usual)
    else:
        assert np.abs(made - usual).mean() < 0.5 * np.abs(usual - plain).mean()
    assert np.array_equal(made_with(pipeline, plan, [file]), usual)


def made_with(pipeline: Pipeline, plan: Plan, loras: Sequence[Any]) -> Any:
    made = pipeline.generate(plan, make_source(plan), None, loras, lambda *_: None)
    return made.clip.frames_THWC.astype(np.int16)


class RunsOut:
    """A sampler that is out of memory as often as it is told, then works."""

    def __init__(self, pipeline: Pipeline, times: int) -> None:
        self.left, self.modes, self._sample = times, [], pipeline.sample

    def __call__(self, *given: Any) -> Any:
        self.modes.append(self._sample.__self__.models.placement.mode)
        if self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._sample(*given)


@pytest.fixture
def on_a_card(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline of its own that takes the CPU for a card beside a machine with memory."""
    monkeypatch.setattr(pipeline_module, "room_of", lambda *_: Room(10**12, 10**12))
    return Pipeline(pipeline.models)


def test_out_of_memory_is_tried_again_leaner(
    on_a_card: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, with a warning; the next job starts where the estimate says."""
    plan, runs_out = plan_of(), RunsOut(on_a_card, times=1)
    monkeypatch.setattr(on_a_card, "sample", runs_out)

    made = on_a_card.generate(plan, make_source(plan), None, (), lambda *_: None)
    again = on_a_card.generate(plan, make_source(plan), None, (), lambda *_: None)

    assert runs_out.modes == ["resident", "offloaded", "resident"]
    (warning,) = made.warnings
    assert (warning.field, warning.asked, warning.used) == ("memory", "resident", "offloaded")
    assert (made.memory, again.memory, again.warnings) == ("offloaded", "resident", ())
    assert np.array_equal(made.clip.frames_THWC, again.clip.frames_THWC)


def test_out_of_memory_twice_fails_the_job_alone(
    on_a_card: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes out as it is; the next job runs as if nothing had been."""
    plan, runs_out = plan_of(), RunsOut(on_a_card, times=2)
    monkeypatch.setattr(on_a_card, "sample", runs_out)

    with pytest.raises(torch.OutOfMemoryError):
        on_a_card.generate(plan, make_source(plan), None, (), lambda *_: None)
    made = on_a_card.generate(plan, make_source(plan), None, (), lambda *_: None)

    assert runs_out.modes == ["resident", "offloaded", "resident"]
    assert made.memory == "resident"


def test_the_leanest_plan_has_no_other_to_try(
    on_a_card: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One attempt, then the error."""
    leanest, plan = Pipeline(on_a_card.models, "fp8"), plan_of()
    runs_out = RunsOut(leanest, times=1)
    monkeypatch.setattr(leanest, "sample", runs_out)

    with pytest.raises(torch.OutOfMemoryError):
        leanest.generate(plan, make_source(plan), None, (), lambda *_: None)

    assert runs_out.modes == ["fp8"]
    on_a_card.models.placement.settle("resident")
