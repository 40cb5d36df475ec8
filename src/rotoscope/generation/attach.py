"""LoRAs beside the weights instead of in them, for weights that are stored in 8 bits.

A change of a few hundredths would be rounded off there. So the layer computes W x as it is, and
scale * (alpha / rank) * B (A x) is added. A and B wait in the machine's memory and are copied for
each use: that is time, but LTX-2 19B's own LoRA of the second pass alone would fill a third of the
cards that this is for.

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
                handles.append(layer.register_forward_hook(partial(_add, delta)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _add(delta: Delta, _: nn.Module, inputs: tuple[Tensor], output_NO: Tensor) -> Tensor:
    (input_NI,) = inputs
    down_RI, up_OR = delta.down_RI.to(input_NI), delta.up_OR.to(input_NI)
    return output_NO + delta.weight * (input_NI @ down_RI.T @ up_OR.T)
