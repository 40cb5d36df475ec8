"""Random windows of prepared clips: cropped, mirrored, resized, panned where they are stills.

T  frames     H, W  pixels     C  colour channels, RGB in [-1, 1]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.data import Frames

# A crop is this share of the largest one that fits.
CLOSEST, WIDEST = 0.55, 1.0
# How far a still drifts over a window, as a share of what the crop leaves free.
DRIFT = 0.5


@dataclass(frozen=True, slots=True)
class Shape:
    """Frames (8k+1), height and width (multiples of 32) of a window."""

    frames: int
    height: int
    width: int

    @property
    def half(self) -> "Shape":
        return Shape(self.frames, self.height // 2, self.width // 2)

    @property
    def latent(self) -> tuple[int, int, int]:
        return (self.frames - 1) // 8 + 1, self.height // 32, self.width // 32

    @property
    def tokens(self) -> int:
        frames, height, width = self.latent
        return frames * height * width


def open_clips(folder: Path) -> list[Frames]:
    """The clips of a folder, by name, left on disk until they are read."""
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]


def window(clips: Sequence[Frames], shape: Shape, rng: Random) -> Tensor:
    """One random window of a random clip, T x C x H x W."""
    clip_THWC = rng.choice(clips)
    boxes = _boxes(clip_THWC.shape, shape, rng)
    start, stride = _times(len(clip_THWC), shape.frames, rng)
    mirrored = rng.random() < 0.5  # noqa: PLR2004 - a fair coin
    pictures = []
    for index, box in enumerate(boxes):
        frame = np.asarray(clip_THWC[min(start + index * stride, len(clip_THWC) - 1)])
        picture = Image.fromarray(frame).resize(
            (shape.width, shape.height), Image.Resampling.BILINEAR, box=box
        )
        pictures.append(np.asarray(picture))
    frames_TCHW = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return frames_TCHW.flip(3) if mirrored else frames_TCHW


def _times(available: int, frames: int, rng: Random) -> tuple[int, int]:
    """First frame and step; shorter clips hold their last frame."""
    stride = rng.choice([step for step in (1, 2) if (frames - 1) * step < available] or [1])
    return rng.randint(0, max(0, available - 1 - (frames - 1) * stride)), stride


def _boxes(
    clip: tuple[int, ...], shape: Shape, rng: Random
) -> list[tuple[float, float, float, float]]:
    """The crop of each frame: the same for moving pictures, drifting for stills."""
    count, height, width, _ = clip
    zoom = rng.uniform(CLOSEST, WIDEST) * min(height / shape.height, width / shape.width)
    tall, wide = zoom * shape.height, zoom * shape.width
    free = (width - wide, height - tall)
    ends = [(rng.random(), rng.random()) for _ in range(2)]
    if count > 1:
        ends[1] = ends[0]
    boxes = []
    for index in range(shape.frames):
        way = DRIFT * index / (shape.frames - 1)
        x, y = (
            space * (first + way * (last - first))
            for space, first, last in zip(free, *ends, strict=True)
        )
        boxes.append((x, y, x + wide, y + tall))
    return boxes
