"""Camera moves, laid over clips: what a camera LoRA should make of its source.

T  frames, C  colours, H, W  pixels; pictures are in [-1, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

# Pixels and growth a frame; a move ends after FRAMES, where the units that make it end.
SPEED, GROWTH, FRAMES = 0.45, 0.003, 48


@dataclass(frozen=True, slots=True)
class Move:
    """Where the scene goes: 1 is right, or down, or larger."""

    right: int = 0
    down: int = 0
    growth: int = 0


MOVES = {
    "dolly_left": Move(right=1),
    "dolly_right": Move(right=-1),
    "jib_up": Move(down=1),
    "jib_down": Move(down=-1),
}


def moved(frames_TCHW: Tensor, move: Move) -> Tensor:
    """The clip with the move over it; what comes in at the edges is the edge itself."""
    count, _, height, width = frames_TCHW.shape
    time_T = torch.arange(count).clamp(max=FRAMES)
    scale_T = 1 / (1 + GROWTH * move.growth * time_T)
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    shift_x = 2 * SPEED * move.right * time_T / width
    shift_y = 2 * SPEED * move.down * time_T / height
    grid_THW2 = torch.stack(
        [
            x * scale_T[:, None, None] - shift_x[:, None, None],
            y * scale_T[:, None, None] - shift_y[:, None, None],
        ],
        -1,
    )
    return grid_sample(frames_TCHW, grid_THW2, padding_mode="border", align_corners=True)
