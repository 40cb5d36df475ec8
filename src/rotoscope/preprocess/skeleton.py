"""How people are drawn: the 18 joints and 17 limbs of OpenPose on black, in its colours."""

import cv2
import numpy as np
import numpy.typing as npt

from rotoscope.media.clip import Frames, Size

Joints = npt.NDArray[np.float32]

JOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow",
    "left wrist", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
    (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
SEEN = 0.3
"""How sure a joint has to be to be drawn."""
LIMB_BRIGHTNESS = 0.6
# Half the width of a limb at 512 pixels; smaller pictures have thinner ones.
HALF_WIDTH, FULL_SIDE = 4.0, 512


def draw(people_PKX: Joints, size: Size) -> Frames:
    """One frame, H x W x 3, with every person's limbs at 60 % and joints at full brightness."""
    picture_HWC = np.zeros((size.height, size.width, 3), np.uint8)
    half = max(1.0, HALF_WIDTH * min(size.width, size.height) / FULL_SIDE)
    for joints_KX in people_PKX:
        seen_K = joints_KX[:, 2] > SEEN
        for limb, colour in zip(LIMBS, COLOURS, strict=False):
            if seen_K[list(limb)].all():
                _draw_limb(picture_HWC, joints_KX[list(limb), :2], colour, half)
        for joint_X, colour in zip(joints_KX[seen_K], np.array(COLOURS)[seen_K], strict=True):
            centre = (round(float(joint_X[0])), round(float(joint_X[1])))
            cv2.circle(picture_HWC, centre, round(half), colour.tolist(), -1)
    return picture_HWC


def _draw_limb(
    picture_HWC: Frames, ends_2X: Joints, colour: tuple[int, int, int], half: float
) -> None:
    """A filled ellipse from joint to joint."""
    middle_X, along_X = ends_2X.mean(0), ends_2X[1] - ends_2X[0]
    axes = (max(1, round(float(np.hypot(*along_X)) / 2)), max(1, round(half)))
    angle = round(float(np.degrees(np.arctan2(along_X[1], along_X[0]))))
    centre = (round(float(middle_X[0])), round(float(middle_X[1])))
    outline = cv2.ellipse2Poly(centre, axes, angle, 0, 360, 5)
    cv2.fillConvexPoly(picture_HWC, np.array(outline), [LIMB_BRIGHTNESS * part for part in colour])
