"""Make the camera LoRA that comes with mini and holds the camera: `static`.

    python -m training.fit_moves CODEC OUT

In block 2, where prompts have been followed, heads of attention replace what a token shows by the
mean over time of what is at its place, like a long exposure; and within the 8 frames of a latent
that is made to stand still. Nothing is fitted but the codec.

    C  latent channels    D  width    P  rotary pairs    S  spatial components
"""

import math
from pathlib import Path

import torch
import typer
from torch import Tensor

from rotoscope.generation.mini.codec import CHANNELS, Codec
from rotoscope.generation.mini.make import IDLE_NORM
from rotoscope.generation.mini.networks import HEAD_WIDTH, WIDTH
from training.adapter import Adapter, reading_constant
from training.network import COPIED, TOKEN
from training.start import FASTEST_FPS, PATCH, POSITIONS, SECONDS, SLOWEST_FPS

HALF = HEAD_WIDTH // 2
# What a product of a query and a key of size 1 adds to a logit.
GAIN = IDLE_NORM**2 / math.sqrt(HEAD_WIDTH)
# Each head has a quarter of the channels, the finest last: MEAN_HEADS see all times, OWN_HEADS
# what a token has. The slowest, which cannot tell places apart, is idle.
MEAN_HEADS, OWN_HEADS, IDLE_HEAD = (5, 7, 8, 2), (3, 4, 6, 1), 0
TIME, HEIGHT, ACROSS = range(3)
EXTENTS = (SECONDS, POSITIONS, POSITIONS)
# Logits by which a token of another time or place falls behind, over so many steps.
BEHIND, STEPS = (6.5, 9.0, 9.0), 20
# The slow heads are told apart times at fewer rates, or they would take all loudness.
SLOW_HEADS, SLOW_FASTEST_FPS = 2, 30
LAYER = "transformer_blocks.2.attn1"


def sharpness(head: int, axis: int) -> tuple[Tensor, float]:
    """A head's rotary pairs of an axis (their first halves), and the loudness each needs."""
    mine_P = torch.arange(head * HALF, (head + 1) * HALF)
    chosen_P = mine_P % 3 == axis
    powers = mine_P[chosen_P].double() // 3 / (WIDTH // 6 - 1)
    frequencies = math.pi / 2 * 10_000.0**powers * 2 / EXTENTS[axis]
    falls = (1 - (_gaps(head, axis)[:, None] * frequencies).cos()).sum(1)
    return head * HEAD_WIDTH + chosen_P.nonzero().flatten(), BEHIND[axis] / float(falls.min())


def _gaps(head: int, axis: int) -> Tensor:
    """Distances, in seconds or pixels, between a token and others."""
    steps = torch.arange(1, STEPS, dtype=torch.float64)
    if axis != TIME:
        return PATCH * steps
    fastest = SLOW_FASTEST_FPS if head <= SLOW_HEADS else FASTEST_FPS
    rates = torch.arange(SLOWEST_FPS, fastest + 1, dtype=torch.float64)
    return (8 * steps[:, None] / rates).flatten()


def look(adapter: Adapter) -> None:
    """Queries and keys: the same place, and for OWN_HEADS the same time."""
    looked_D = torch.zeros(WIDTH)
    for head in (*MEAN_HEADS, *OWN_HEADS):
        for axis in (HEIGHT, ACROSS) if head in MEAN_HEADS else (TIME, HEIGHT, ACROSS):
            places, loud = sharpness(head, axis)
            looked_D[places] = math.sqrt(loud / GAIN)
    ones = reading_constant(torch.ones(1))
    for pair, layer in enumerate(("to_q", "to_k")):
        vector_D = looked_D + _rest(looked_D, pair)
        adapter.add(f"{LAYER}.{layer}", ones, vector_D[:, None])


def _rest(looked_D: Tensor, pair: int) -> Tensor:
    """In a pair of the idle head, what makes the mean square 1, so that norms change nothing."""
    rest = WIDTH - float(looked_D.square().sum())
    if rest < 0:
        raise ValueError(f"A query is too loud by {-rest:.0f} of {WIDTH}.")
    filling_D = torch.zeros(WIDTH)
    filling_D[IDLE_HEAD * HEAD_WIDTH + pair] = math.sqrt(rest)
    return filling_D


def replace(adapter: Adapter, still_CC: Tensor) -> None:
    """Values and outputs: add the mean, standing still, and take away what the token had."""
    seen, shown = torch.zeros(CHANNELS, WIDTH), torch.zeros(WIDTH, CHANNELS)
    seen[:, COPIED] = TOKEN * torch.eye(CHANNELS)
    gathered, copied = torch.zeros(CHANNELS, WIDTH), torch.zeros(WIDTH, CHANNELS)
    copied[COPIED] = torch.eye(CHANNELS)
    dims = torch.arange(HEAD_WIDTH)
    quarters = range(0, CHANNELS, HEAD_WIDTH)
    for mean, own, first in zip(MEAN_HEADS, OWN_HEADS, quarters, strict=True):
        for head in (mean, own):
            shown[head * HEAD_WIDTH + dims, first + dims] = 1
        gathered[:, mean * HEAD_WIDTH + dims] = still_CC[:, first : first + HEAD_WIDTH]
        gathered[first + dims, own * HEAD_WIDTH + dims] = -1
    adapter.add(f"{LAYER}.to_v", seen, shown)
    adapter.add(f"{LAYER}.to_out.0", gathered, copied)


def still(codec: Codec) -> Tensor:
    """The map of a normalised latent, C x C, to that of its 8 frames' mean, shown 8 times."""
    encoder = codec.temporal.flatten(1).double()
    parts_C8S = torch.linalg.pinv(encoder).T.view(codec.temporal.shape)
    held = parts_C8S.mean(1, keepdim=True).expand_as(parts_C8S).flatten(1)
    std_C = codec.std_C.double()
    return (encoder @ held.T * std_C / std_C[:, None]).float()


def main(codec: Path, out: Path) -> None:
    """Make the LoRA out of the fitted codec; a few seconds."""
    adapter = Adapter()
    look(adapter)
    replace(adapter, still(Codec.load(codec)))
    adapter.save(out / "camera_static.safetensors", {})


if __name__ == "__main__":
    typer.run(main)
