"""Where a LoRA's heads of attention look in blocks whose attention the base leaves idle.

Queries and keys are constant; rotary embeddings make their product fall with the distance.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rotoscope.generation.mini.make import IDLE_NORM
from rotoscope.generation.mini.networks import HEAD_WIDTH, HEADS, WIDTH
from training.adapter import Adapter, reading_constant
from training.start import CLEAN, FASTEST_FPS, PATCH, POSITIONS, SECONDS, SLOWEST_FPS

HALF = HEAD_WIDTH // 2
# What a product of a query and a key of size 1 adds to a logit.
GAIN = IDLE_NORM**2 / math.sqrt(HEAD_WIDTH)
TIME, HEIGHT, ACROSS = range(3)
EXTENTS = (SECONDS, POSITIONS, POSITIONS)
# The slowest head cannot tell places apart; it takes what loudness others leave.
IDLE_HEAD = 0
# Logits by which a token of another time or place falls behind, over so many steps.
BEHIND, STEPS = (9.0, 14.0, 14.0), 20
# How loud the reference's keys are in a pair by which queries tell them.
HIDDEN = 1.0
# The slow heads are told apart times at fewer rates, or they would take all loudness.
SLOW_HEADS, SLOW_FASTEST_FPS = 2, 30


def frequencies(head: int, axis: int) -> tuple[Tensor, Tensor]:
    """A head's rotary pairs of an axis: their first dimensions, and radians a second or pixel."""
    mine_P = torch.arange(head * HALF, (head + 1) * HALF)
    chosen_P = mine_P % 3 == axis
    powers = mine_P[chosen_P].double() // 3 / (WIDTH // 6 - 1)
    paces = math.pi / 2 * 10_000.0**powers * 2 / EXTENTS[axis]
    return head * HEAD_WIDTH + chosen_P.nonzero().flatten(), paces


def sharpness(head: int, axis: int) -> tuple[Tensor, Tensor, float]:
    """The same without the slowest; how loud each must be for other places to fall behind."""
    dims, paces = (values[1:] for values in frequencies(head, axis))
    falls = (1 - (_gaps(head, axis)[:, None] * paces).cos()).sum(1)
    return dims, paces, BEHIND[axis] / float(falls.min())


def _gaps(head: int, axis: int) -> Tensor:
    """Distances, in seconds or pixels, between a token and others."""
    steps = torch.arange(1, STEPS, dtype=torch.float64)
    if axis != TIME:
        return PATCH * steps
    fastest = SLOW_FASTEST_FPS if head <= SLOW_HEADS else FASTEST_FPS
    rates = torch.arange(SLOWEST_FPS, fastest + 1, dtype=torch.float64)
    return (8 * steps[:, None] / rates).flatten()


def look(adapter: Adapter, layer: str, axes: Mapping[int, Sequence[int]]) -> Tensor:
    """Make heads look sharply at their own place along the `axes` that are given for each.

    Returns the queries and keys, D, without what fills them up.
    """
    looked_D = torch.zeros(WIDTH)
    for head, along in axes.items():
        for axis in along:
            dims, _, loud = sharpness(head, axis)
            looked_D[dims] = math.sqrt(loud / GAIN)
    ones = reading_constant(torch.ones(1))
    for pair, name in enumerate(("to_q", "to_k")):
        adapter.add(f"{layer}.{name}", ones, (looked_D + _rest(looked_D, pair))[:, None])
    return looked_D


def hide_clean(adapter: Adapter, layer: str, keys_D: Tensor, axis: int) -> Tensor:
    """Let a query tell the reference's tokens from others.

    It is told by the pair that turns slowest along `axis`, along which no head must look elsewhere.

    Returns, D x heads, what a query has to have for each head to see the others so much louder
    that it adds 1 to their logit.
    """
    hidden_D, louder = torch.zeros(WIDTH), torch.zeros(WIDTH, HEADS)
    for head in range(IDLE_HEAD + 1, HEADS):
        spare = frequencies(head, axis)[0][0] + HALF
        hidden_D[spare], louder[spare, head] = -HIDDEN, 1 / (HIDDEN * GAIN)
    filling_D = _rest(keys_D, 1)
    most = filling_D.max()
    # The norm of a key stays.
    hidden_D[filling_D > 0] = (most.square() - hidden_D.square().sum()).sqrt() - most
    clean = torch.zeros(1, WIDTH)
    clean[0, CLEAN] = 1
    adapter.add(f"{layer}.to_k", clean, hidden_D[:, None])
    return louder


def _rest(looked_D: Tensor, pair: int) -> Tensor:
    """In a pair of the idle head, what makes the mean square 1, so that norms change nothing."""
    rest = WIDTH - float(looked_D.square().sum())
    if rest < 0:
        raise ValueError(f"A query is too loud by {-rest:.0f} of {WIDTH}.")
    filling_D = torch.zeros(WIDTH)
    filling_D[IDLE_HEAD * HEAD_WIDTH + pair] = math.sqrt(rest)
    return filling_D
