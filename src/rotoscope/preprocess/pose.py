"""Skeletons: the people of each frame, found by MoveNet MultiPose and drawn as OpenPose does.

MoveNet finds up to six people. It is from Google, under Apache-2.0, and ships with Rotoscope.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from rotoscope.media.clip import Frames, Size
from rotoscope.preprocess.skeleton import Joints, draw

# The model's own joints, in its order, as positions in skeleton.JOINTS.
COCO_17 = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
NECK, RIGHT_SHOULDER, LEFT_SHOULDER = 1, 2, 5
MOST_THREADS = 4
# The longer side that the model sees, and what both sides are multiples of.
SEEN_SIDE, SIDE_STEP = 512, 32
PERSON = 0.2
"""How sure a person has to be."""


class PeopleFinder:
    """MoveNet MultiPose Lightning, opened from its file."""

    def __init__(self, weights: Path) -> None:
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._net = Interpreter(str(weights), num_threads=threads)
        self._input = self._net.get_input_details()[0]["index"]
        self._output = self._net.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] = ()

    def skeletons(self, frames_THWC: Frames) -> Frames:
        """The people of each frame, drawn on black."""
        _, height, width, _ = frames_THWC.shape
        return np.stack([draw(self.find(one), Size(width, height)) for one in frames_THWC])

    def find(self, frame_HWC: Frames) -> Joints:
        """The people of one frame, P x K x X; a joint that was not found has certainty 0."""
        picture_HWC, scale = _fitted(frame_HWC)
        found = self._run(picture_HWC)
        sure = found[found[:, 55] > PERSON]
        joints_PKX = sure[:, :51].reshape(-1, 17, 3)[:, :, [1, 0, 2]]
        joints_PKX[:, :, 0] *= picture_HWC.shape[1] / scale
        joints_PKX[:, :, 1] *= picture_HWC.shape[0] / scale
        return _with_neck(joints_PKX)

    def _run(self, picture_HWC: Frames) -> Joints:
        """Up to six rows of 56: 17 times y, x, certainty; then a box and the person's certainty."""
        if picture_HWC.shape != self._shape:
            self._shape = picture_HWC.shape
            self._net.resize_tensor_input(self._input, [1, *self._shape], strict=True)
            self._net.allocate_tensors()
        self._net.set_tensor(self._input, picture_HWC[None])
        self._net.invoke()
        found: Joints = self._net.get_tensor(self._output)[0]
        return found


def _fitted(frame_HWC: Frames) -> tuple[Frames, float]:
    """The frame at the model's size, black to the right and below, and how much it was scaled."""
    height, width, _ = frame_HWC.shape
    scale = SEEN_SIDE / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture_HWC = cv2.resize(frame_HWC, inner, interpolation=cv2.INTER_AREA)
    right, below = (-side % SIDE_STEP for side in inner)
    padded_HWC = cv2.copyMakeBorder(picture_HWC, 0, below, 0, right, cv2.BORDER_CONSTANT)
    return padded_HWC.astype(np.uint8, copy=False), scale


def _with_neck(coco_PKX: Joints) -> Joints:
    """COCO's 17 joints in OpenPose's order; the neck is midway between the shoulders."""
    joints_PKX = np.zeros((len(coco_PKX), 18, 3), np.float32)
    joints_PKX[:, COCO_17] = coco_PKX
    shoulders = joints_PKX[:, [RIGHT_SHOULDER, LEFT_SHOULDER]]
    joints_PKX[:, NECK] = shoulders.mean(1)
    joints_PKX[:, NECK, 2] = shoulders[:, :, 2].min(1)
    return joints_PKX
