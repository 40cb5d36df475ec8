"""Depth that does not flicker: where the source stands still, so does its depth.

A model that looks at one frame at a time gives a wall another depth in each of them. Here every
pixel gets the mean of the frames through which its source did not change, before and after.
"""

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

Depths = npt.NDArray[np.float16]
Greys = npt.NDArray[np.uint8]

# The change of a pixel, of 255, at which it is half a different one: above a camera's noise.
CHANGE = 4.0
# Frames to each side that count; many more would hold back the light of an evening.
LONGEST = 24.0


def steady(depth_THW: Depths, grey_THW: Greys) -> Depths:
    """The depths averaged over time where `grey_THW`, the source at the same size, stands still.

    Means forward and backward in time are joined, so that the first frames are as steady as the
    last.
    """
    if len(depth_THW) == 1:
        return depth_THW
    same_THW = np.stack([_sameness(*pair) for pair in pairwise(grey_THW)])
    ahead_THW, age_THW = _means(depth_THW, same_THW)
    back_THW, left_THW = (one[::-1] for one in _means(depth_THW[::-1], same_THW[::-1]))
    # Both means hold the frame itself, so one of the two is taken off again.
    for index, depth_HW in enumerate(depth_THW):
        age_HW, left_HW = age_THW[index].astype(np.float32), left_THW[index].astype(np.float32)
        both_HW = ahead_THW[index] * age_HW + back_THW[index] * left_HW - depth_HW
        ahead_THW[index] = both_HW / (age_HW + left_HW - 1)
    return ahead_THW


def _sameness(one_HW: npt.NDArray[np.uint8], other_HW: npt.NDArray[np.uint8]) -> Depths:
    """1 where nothing changed between two frames, 0 where another thing is seen.

    A change counts for the pixels beside it too: the rim of a moving thing is soft.
    """
    change_HW = cv2.dilate(cv2.absdiff(one_HW, other_HW), np.ones((3, 3), np.uint8))
    return (1 / (1 + (change_HW / CHANGE) ** 4)).astype(np.float16)


def _means(depth_THW: Depths, same_THW: Depths) -> tuple[Depths, Depths]:
    """The running mean of each pixel, and of how many frames it is: 1 to LONGEST."""
    mean_THW, age_THW = depth_THW.copy(), np.ones_like(depth_THW)
    for index in range(1, len(depth_THW)):
        age_HW = 1 + np.minimum(age_THW[index - 1], LONGEST - 1) * same_THW[index - 1]
        before_HW, now_HW = mean_THW[index - 1].astype(np.float32), depth_THW[index]
        mean_THW[index] = before_HW + (now_HW - before_HW) / age_HW
        age_THW[index] = age_HW
    return mean_THW, age_THW
