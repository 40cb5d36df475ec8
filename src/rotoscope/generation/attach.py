"""LoRAs beside the weights instead of in them, for weights that are stored in 8 bits.

A change of a few hundredths would be rounded off there. So the layer computes W x as it is, and
scale * (alpha / rank) * B (A x) is added: exact, and a few percent slower for each LoRA.

    N  whatever comes before    R  rank    I, O  inputs and outputs of a layer
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from rotoscope.generation.loras import Delta, Lora


@contextmanager
def attached(model: nn.Module, loras: Sequence[Lora]) -> Iterator[None]:
    """Within this context the layers of `model` add what `loras` change."""
    handles = []
    try:
        for lora in loras:
            for name, delta in lora.deltas.items():
                layer = model.get_submodule(name)
                handles.append(layer.register_forward_hook(partial(_add, _like(delta, layer))))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _like(delta: Delta, layer: nn.Module) -> Delta:
    """The two matrices on the layer's device and in its type."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)  # noqa: S101 - for the type checker
    down_RI, up_OR = delta.down_RI.to(weight.data), delta.up_OR.to(weight.data)
    return Delta(down_RI, up_OR, delta.weight)


def _add(delta: Delta, _: nn.Module, inputs: tuple[Tensor], output_NO: Tensor) -> Tensor:
    (input_NI,) = inputs
    return output_NO + delta.weight * (input_NI @ delta.down_RI.T @ delta.up_OR.T)
