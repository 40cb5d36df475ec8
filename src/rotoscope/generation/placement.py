"""Where weights are: at home between uses, on the device while a part works.

Under the memory plan `resident` home is the device, and nothing moves. Under the others home is the
machine's memory: a part's weights are copied to the device when it is used, and the copies dropped
afterwards, so what is at home is never changed and never copied back.

    O, I  outputs and inputs of a linear layer
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from rotoscope.generation.memory import IN_FP8, Mode

# From a tensor at home to one on the device.
Bring = Callable[[Tensor], Tensor]

FP8 = torch.float8_e4m3fn
LARGEST_FP8 = 448.0


class Placement:
    """The parts of one checkpoint on one device, under one memory plan at a time."""

    def __init__(self, parts: Mapping[str, nn.Module], device: torch.device, mode: Mode) -> None:
        """`parts` have to be at home already: on `device` if resident, else on the CPU."""
        self.device = device
        self.mode: Mode = mode
        self._parts = parts

    def settle(self, mode: Mode) -> None:
        """Take another memory plan; no part may be in use."""
        if mode == self.mode:
            return
        try:
            self._go_home(self.device if mode == "resident" else torch.device("cpu"))
        except torch.OutOfMemoryError:
            self._go_home(torch.device("cpu"))
            raise
        self.mode = mode
        self.release()

    def _go_home(self, home: torch.device) -> None:
        for part in self._parts.values():
            part.to(home)

    def bring(self, tensor: Tensor) -> Tensor:
        """A copy on the device, or the tensor itself where it is there already."""
        return tensor.to(self.device)

    def release(self) -> None:
        """Give memory that is no longer used back to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def using(self, *names: str) -> Iterator[None]:
        """Within this context the weights of these parts are on the device."""
        with ExitStack() as stack:
            if self.mode != "resident":
                for name in names:
                    fp8 = self.mode == "fp8" and name in IN_FP8
                    stack.enter_context(visiting(self._parts[name], self.bring, fp8=fp8))
            yield


@contextmanager
def visiting(module: nn.Module, bring: Bring, *, fp8: bool = False) -> Iterator[None]:
    """Within this context `module` has copies of its weights, with `fp8` in 8 bits."""
    tensors = list(chain(module.parameters(), module.buffers()))
    homes = [tensor.data for tensor in tensors]
    try:
        with ExitStack() as stack:
            if fp8:
                for linear in _own_linears(module):
                    stack.enter_context(_stored_in_fp8(linear, bring))
            for tensor in tensors:
                tensor.data = bring(tensor.data)
            yield
    finally:
        for tensor, home in zip(tensors, homes, strict=True):
            tensor.data = home


@contextmanager
def _stored_in_fp8(linear: nn.Linear, bring: Bring) -> Iterator[None]:
    """The layer's weight in 8 bits, and as it was only while the layer computes.

    Between, the parameter is empty and keeps its type, by which callers choose theirs.
    """
    weight, empty = linear.weight, bring(linear.weight.data.new_empty(0))
    stored_OI, scale_O1 = to_fp8(bring(weight.data))

    def unfold(*_: Any) -> None:
        weight.data = (stored_OI.to(scale_O1) * scale_O1).to(weight.dtype)

    def fold(*_: Any) -> None:
        weight.data = empty

    fold()
    handles = (
        linear.register_forward_pre_hook(unfold),
        linear.register_forward_hook(fold, always_call=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def to_fp8(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """A weight in 8 bits, and what each of its rows has to be multiplied by in float32.

    Rows are scaled to fill the range: below 0.016, where many weights are, 8 bits without a scale
    get coarser and coarser.
    """
    largest_O1 = weight_OI.float().abs().amax(dim=1, keepdim=True)
    scale_O1 = torch.where(largest_O1 > 0, largest_O1 / LARGEST_FP8, 1.0)
    return (weight_OI.float() / scale_O1).to(FP8), scale_O1


def _own_linears(module: nn.Module) -> list[nn.Linear]:
    """Linear layers, but for those that share their weight with another layer."""
    layers = list(module.modules())
    uses = Counter(id(tensor) for layer in layers for tensor in layer.parameters(recurse=False))
    return [one for one in layers if isinstance(one, nn.Linear) and uses[id(one.weight)] == 1]
