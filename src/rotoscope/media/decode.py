"""Read frames of untrusted video, in a child process; see sandbox.py."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from rotoscope.media.clip import Frames, Size
from rotoscope.media.probe import probe
from rotoscope.media.sandbox import ask

__all__ = ["decode", "probe"]


def decode(
    path: Path, *, frames: int, fps: Fraction, size: Size, field: str = "video_url"
) -> Frames:
    """Up to `frames` frames, `fps` of them a second, covering `size`, cut to its centre.

    Frame k is the newest one shown by k / fps seconds after the first; a source that ends earlier
    gives fewer. Raises as probe does.
    """
    order = {
        "do": "decode",
        "frames": frames,
        "fps": fps.as_integer_ratio(),
        "width": size.width,
        "height": size.height,
    }
    # Filled as the child writes: one copy in memory, and only of the frames there are.
    pixels_THWC = np.empty((frames, size.height, size.width, 3), dtype=np.uint8)
    count = ask(path, field, order, pixels_THWC.reshape(-1).data)
    return pixels_THWC[: count // pixels_THWC[0].size]
