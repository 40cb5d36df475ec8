"""Depth that does not flicker: where the source stands still, so does its depth.

A model that looks at one frame at a time gives a wall another depth in each of them. Here every
pixel gets the mean of the frames through which its source did not change, before and after.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

Depths = npt.NDArray[np.float16]
Greys = npt.NDArray[np.uint8]
Layer = npt.NDArray[np.float32]

# The change of a pixel, of 255, at which it is half a different one: above a camera's noise.
CHANGE = 4.0
# Frames to each side that count; many more would hold back the light of an evening.
LONGEST = 24.0


def steady(depth_THW: Depths, grey_THW: Greys) -> Depths:
    """The depths averaged over time where `grey_THW`, the source at the same size, stands still.

    Means forward and backward in time are joined, so that the first frames are as steady as the
    last.
    """
    calm_THW, ages_THW = np.empty_like(depth_THW), np.empty_like(depth_THW)
    ahead = range(len(depth_THW))
    for index, mean_HW, age_HW in _means(depth_THW, grey_THW, ahead):
        calm_THW[index], ages_THW[index] = mean_HW, age_HW
    for index, mean_HW, left_HW in _means(depth_THW, grey_THW, reversed(ahead)):
        age_HW = ages_THW[index].astype(np.float32)
        # Both means hold the frame itself, so one of the two is taken off again.
        both_HW = calm_THW[index] * age_HW + mean_HW * left_HW - depth_THW[index]
        calm_THW[index] = both_HW / (age_HW + left_HW - 1)
    return calm_THW


def _means(
    depth_THW: Depths, grey_THW: Greys, order: Iterable[int]
) -> Iterator[tuple[int, Layer, Layer]]:
    """Each frame's running mean of each pixel, and of how many frames it is: 1 to LONGEST."""
    mean_HW = age_HW = np.zeros(depth_THW.shape[1:], np.float32)
    before_HW = grey_THW[0]
    for index in order:
        age_HW = 1 + np.minimum(age_HW, LONGEST - 1) * _sameness(before_HW, grey_THW[index])
        mean_HW = mean_HW + (depth_THW[index] - mean_HW) / age_HW
        before_HW = grey_THW[index]
        yield index, mean_HW, age_HW


def _sameness(one_HW: Greys, other_HW: Greys) -> Layer:
    """1 where nothing changed between two frames, 0 where another thing is seen.

    A change counts for the pixels beside it too: the rim of a moving thing is soft.
    """
    change_HW = cv2.dilate(cv2.absdiff(one_HW, other_HW), np.ones((3, 3), np.uint8))
    same_HW: Layer = (1 / (1 + (change_HW / CHANGE) ** 4)).astype(np.float32)
    return same_HW
