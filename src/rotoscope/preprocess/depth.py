"""Depth: grey, near is white, over the whole clip on one scale and without flicker."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from rotoscope.media.clip import Frames, Size
from rotoscope.preprocess.steady import Depths, Greys, steady

# These shares of a clip's pixels, in percent, are black and white, whatever their depth.
FARTHEST, NEAREST = 1, 99
# FastDepth's own side, and the nearest, in metres, that it tells apart.
SIDE, NEAREST_M = 224, 0.1


class DepthModel(Protocol):
    """Frames, T x H x W x C, to how near things are, larger is nearer, at the model's own size."""

    def __call__(self, frames_THWC: Frames, /) -> Depths: ...


class FastDepth:
    """FastDepth through OpenCV: metres of a 224 x 224 picture."""

    def __init__(self, weights: Path) -> None:
        self._net = cv2.dnn.readNetFromONNX(str(weights))

    def __call__(self, frames_THWC: Frames, /) -> Depths:
        # One at a time, so that a frame's depth does not depend on how many are asked for at once.
        metres_THW = np.stack([self._metres(one) for one in frames_THWC])
        return (1 / np.maximum(metres_THW, NEAREST_M)).astype(np.float16)

    def _metres(self, frame_HWC: Frames) -> npt.NDArray[np.float32]:
        small_HWC = cv2.resize(frame_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        self._net.setInput(cv2.dnn.blobFromImage(small_HWC, 1 / 255))
        metres_HW: npt.NDArray[np.float32] = self._net.forward()[0, 0]
        return metres_HW


class Shades:
    """The grey of every frame of a clip, from the depths of all of them."""

    def __init__(self, depth_THW: Depths, grey_THW: Greys) -> None:
        """Depths, and the source in grey at the same size, which says where it stands still."""
        self._depth_THW = steady(depth_THW, grey_THW)
        sample_THW = self._depth_THW[:, ::2, ::2].astype(np.float32)
        self._far, near = np.percentile(sample_THW, (FARTHEST, NEAREST))
        self._range = max(float(near - self._far), float(np.finfo(np.float16).tiny))

    def draw(self, start: int, count: int, size: Size) -> Frames:
        """`count` frames from `start` on, T x H x W x 3 of `size`."""
        shades_THW = [
            self._shade(depth_HW, size) for depth_HW in self._depth_THW[start : start + count]
        ]
        return np.repeat(np.stack(shades_THW)[..., None], 3, axis=-1)

    def _shade(self, depth_HW: Depths, size: Size) -> Greys:
        full_HW = cv2.resize(depth_HW.astype(np.float32), (size.width, size.height))
        share_HW = np.clip((full_HW - self._far) / self._range, 0, 1)
        shade_HW: Greys = (255 * share_HW + 0.5).astype(np.uint8)
        return shade_HW


def look(model: DepthModel, chunks: Iterable[Frames]) -> Shades:
    """Take the depth of every frame; the frames themselves are not kept."""
    depths, greys = [], []
    for frames_THWC in chunks:
        depth_THW = model(frames_THWC)
        _, height, width = depth_THW.shape
        depths.append(depth_THW)
        greys.append(np.stack([_grey(one, Size(width, height)) for one in frames_THWC]))
    return Shades(np.concatenate(depths), np.concatenate(greys))


def _grey(frame_HWC: Frames, size: Size) -> Greys:
    small_HWC = cv2.resize(frame_HWC, (size.width, size.height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small_HWC, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
