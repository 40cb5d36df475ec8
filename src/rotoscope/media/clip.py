"""What the parts hand each other: sizes, facts about a file, frames and sound.

Dimension key of array names in this package:

    T  frames          S  samples of sound
    H  height, pixels  C  colour channels (RGB) or sound channels
    W  width, pixels
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rotoscope.media.facts import Size, VideoInfo

__all__ = ["Audio", "Clip", "Frames", "Size", "VideoInfo"]

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound in [-1, 1], one row per channel, `rate` samples a second."""

    samples_CS: npt.NDArray[np.float32]
    rate: int


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames shown `fps` a second, and the sound that belongs to them."""

    frames_THWC: Frames
    fps: Fraction
    audio: Audio | None = None

    @property
    def size(self) -> Size:
        _, height, width, _ = self.frames_THWC.shape
        return Size(width, height)
