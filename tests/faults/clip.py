"""The source of every job here: a few frames of moving colour."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from rotoscope.media.clip import Clip
from rotoscope.media.encode import encode


def make_clip(folder: Path) -> Path:
    ramp = np.add.outer(np.arange(9) * 8, np.add.outer(np.arange(48), np.arange(64)))
    frames = np.stack([ramp, ramp // 2, 255 - ramp], axis=-1).astype(np.uint8)
    return encode(Clip(frames, Fraction(12)), quality="low", into=folder).path
