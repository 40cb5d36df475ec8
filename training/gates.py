"""Feed-forward units laid out as gates: a linear map of a token that a flag opens.

A unit is gelu(z + b). Where b is large it passes z + b; far below zero it passes nothing. So a
group of units with a common b is a linear map that is there or not, and one more unit, which sees
no z, takes b out again.
"""

from dataclasses import dataclass, field

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from torch import Tensor

# How far an open gate's b is above zero and a closed one's below; signals stay within two thirds.
OPEN = 12.0


@dataclass(frozen=True, slots=True)
class Condition:
    """b as a function of a token: a constant, and multiples of its dimensions."""

    constant: float
    weights: dict[int, float] = field(default_factory=dict)


def asked(*flags: int, unless: tuple[int, ...] = ()) -> Condition:
    """Open where one of `flags` is 1 and none of `unless` is; flags are dimensions."""
    weights = dict.fromkeys(flags, 2 * OPEN) | dict.fromkeys(unless, -2 * OPEN)
    return Condition(-OPEN, weights)


ALWAYS = Condition(OPEN)


class Gates:
    """Hands out the units of one block's feed-forward layer; all are zero at first."""

    def __init__(self, block: LTX2VideoTransformerBlock) -> None:
        self.first, self.last = block.ff.net[0].proj, block.ff.net[2]
        self.used = 0
        for layer in (self.first, self.last):
            layer.weight.zero_()
            layer.bias.zero_()

    def add_map(self, condition: Condition, inputs_UD: Tensor, outputs_DU: Tensor) -> None:
        """Add `outputs @ (inputs @ token)` where `condition` is open.

        Tokens are as the layer sees them, normalised; the result is added to them before that.
        Components of `inputs @ token` should be within 8.
        """
        rows = self._take(len(inputs_UD), condition)
        self.first.weight[rows] += inputs_UD
        self.last.weight[:, rows] = outputs_DU
        rows = self._take(1, condition)
        self.last.weight[:, rows] = -outputs_DU.sum(1, keepdim=True)

    def add_shift(self, condition: Condition, offset_D: Tensor) -> None:
        """Add `offset_D` where `condition` is open: two units, whose difference is then 1."""
        rows = self._take(2, condition)
        self.first.bias[rows[:1]] += 1
        self.last.weight[:, rows] = torch.stack([offset_D, -offset_D], 1)

    def add_features(
        self, condition: Condition, inputs_UD: Tensor, biases_U: Tensor, outputs_DU: Tensor
    ) -> None:
        """Add `outputs @ gelu(inputs @ token + biases)` where a condition of `asked` is open."""
        rows = self._take(len(inputs_UD), condition)
        self.first.weight[rows] += inputs_UD
        self.first.bias[rows] += biases_U - OPEN
        self.last.weight[:, rows] = outputs_DU

    def _take(self, count: int, condition: Condition) -> Tensor:
        rows = torch.arange(self.used, self.used + count)
        self.used += count
        if self.used > len(self.first.bias):
            raise ValueError(f"{self.used} units are asked for; there are {len(self.first.bias)}.")
        self.first.bias[rows] = condition.constant
        for dimension, weight in condition.weights.items():
            self.first.weight[rows, dimension] = weight
        return rows
