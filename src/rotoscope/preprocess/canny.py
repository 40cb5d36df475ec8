"""Edges: white on black, as the canny IC-LoRA of LTX-2 was trained on."""

import cv2
import numpy as np

from rotoscope.media.clip import Frames

# Of the gradient of grey in 0 to 255. Source: Lightricks' published trainer.
LOW, HIGH = 100, 200


def edges(frames_THWC: Frames) -> Frames:
    """The edges of each frame, white (255) on black, in three equal channels."""
    edges_THW = [cv2.Canny(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), LOW, HIGH) for one in frames_THWC]
    return np.repeat(np.stack(edges_THW)[..., None], 3, axis=-1)
