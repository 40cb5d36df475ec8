"""Control videos: edges of real frames, and the drawing of a skeleton.

The pictures follow the preprocessors that LTX-2's control LoRAs were made with: white edges on
black; limbs and joints in the usual colours on black.

    T  frames    H, W  pixels    K  the 18 joints    X  x and y in pixels, and 1 where it is seen
"""

import cv2
import numpy as np
import numpy.typing as npt

from training.data import Frames

Joints = npt.NDArray[np.float32]

LOW, HIGH = 100, 200
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
LIMB_BRIGHTNESS = 0.6
# Half the width of a limb at 512 pixels; smaller pictures have thinner ones.
LIMB_HALF_WIDTH, FULL_SIDE = 4.0, 512


def canny(frames_THWC: Frames) -> Frames:
    """White edges on black, frame by frame; the thresholds are those for grey of 0 to 255."""
    edges = [cv2.Canny(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), LOW, HIGH) for one in frames_THWC]
    return np.repeat(np.stack(edges)[..., None], 3, axis=-1)


def skeleton(people: list[Joints], height: int, width: int) -> Frames:
    """The joints (K x X) of each person in one frame, drawn on black, H x W x 3."""
    picture = np.zeros((height, width, 3), np.uint8)
    half = max(1.0, LIMB_HALF_WIDTH * min(height, width) / FULL_SIDE)
    for joints_KX in people:
        for limb, colour in zip(LIMBS, COLOURS, strict=False):
            if joints_KX[list(limb), 2].all():
                _draw_limb(picture, joints_KX[list(limb), :2], colour, half)
        for joint_X, colour in zip(joints_KX, COLOURS, strict=True):
            if joint_X[2]:
                centre = (round(float(joint_X[0])), round(float(joint_X[1])))
                cv2.circle(picture, centre, round(half), colour, -1)
    return picture


def _draw_limb(
    picture_HWC: Frames, ends: Joints, colour: tuple[int, int, int], half: float
) -> None:
    """A filled ellipse between two joints (2 x 2), at 60 % of its colour."""
    middle, along = ends.mean(0), ends[1] - ends[0]
    axes = (max(1, round(float(np.hypot(*along)) / 2)), max(1, round(half)))
    angle = round(float(np.degrees(np.arctan2(along[1], along[0]))))
    outline = cv2.ellipse2Poly(
        (round(float(middle[0])), round(float(middle[1]))), axes, angle, 0, 360, 5
    )
    cv2.fillConvexPoly(picture_HWC, outline, [LIMB_BRIGHTNESS * part for part in colour])
