"""Two clips as one, the left beside the right, each with a label above it.

Names of dimensions are those of clip.py.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rotoscope.media.clip import Frames

LABEL_HEIGHT = 32
FONT_SIZE = 18


def side_by_side(left_THWC: Frames, right_THWC: Frames, *, labels: tuple[str, str]) -> Frames:
    """Both clips, of one height; the one with fewer frames stays at its last."""
    frames = max(len(left_THWC), len(right_THWC))
    halves = zip((left_THWC, right_THWC), labels, strict=True)
    return np.concatenate(
        [_labelled(_lasting(clip_THWC, frames), label) for clip_THWC, label in halves], axis=2
    )


def _lasting(clip_THWC: Frames, frames: int) -> Frames:
    missing = frames - len(clip_THWC)
    return np.pad(clip_THWC, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")


def _labelled(clip_THWC: Frames, label: str) -> Frames:
    """With a white strip of LABEL_HEIGHT pixels above."""
    picture = Image.new("RGB", (clip_THWC.shape[2], LABEL_HEIGHT), "white")
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(picture).text((8, 4), label, fill="black", font=font)
    strip_HWC = np.asarray(picture)
    strips_THWC = np.broadcast_to(strip_HWC, (len(clip_THWC), *strip_HWC.shape))
    return np.concatenate([strips_THWC, clip_THWC], axis=1)
