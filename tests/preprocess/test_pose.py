"""People in real footage: the sample clip has a man on a roof and a woman who walks."""

import numpy as np
import pytest

from rotoscope.media.clip import Frames, Size
from rotoscope.preprocess.pose import PeopleFinder
from rotoscope.preprocess.skeleton import JOINTS, SEEN, Joints
from rotoscope.preprocess.weights import SHIPPED
from tests.effects.conftest import footage

WIDTH, HEIGHT = 448, 256
# Left, top, right, bottom of each in the first frame, read off the picture.
MAN, WOMAN = (140, 18, 190, 122), (364, 138, 404, 246)


@pytest.fixture(scope="module")
def finder() -> PeopleFinder:
    return PeopleFinder(SHIPPED / "movenet-multipose-lightning.tflite")


@pytest.fixture(scope="module")
def picture() -> Frames:
    return footage(WIDTH, HEIGHT, 1)[0]


def inside(joints_KX: Joints, box: tuple[int, int, int, int]) -> float:
    """Share of the certain joints that lie in a box."""
    sure = joints_KX[joints_KX[:, 2] > SEEN]
    right_N, down_N = sure[:, 0], sure[:, 1]
    left, top, right, bottom = box
    return float(
        np.mean((left <= right_N) & (right_N <= right) & (top <= down_N) & (down_N <= bottom))
    )


def from_left(people_PKX: Joints) -> Joints:
    return people_PKX[np.argsort(people_PKX[:, 1, 0])]


def test_both_people_are_found_where_they_are(finder: PeopleFinder, picture: Frames) -> None:
    """Most of their joints, each within the person's own box."""
    people_PKX = from_left(finder.find(picture))

    assert people_PKX.shape == (2, 18, 3)
    assert (people_PKX[:, :, 2] > SEEN).sum(1).min() >= 14
    assert inside(people_PKX[0], MAN) == 1
    # A tree hides an arm of hers, which is guessed.
    assert inside(people_PKX[1], WOMAN) > 0.8


def test_heads_are_above_hips_above_ankles(finder: PeopleFinder, picture: Frames) -> None:
    """The joints have their own names, not each other's."""
    man_KX = from_left(finder.find(picture))[0]
    heights = [
        man_KX[JOINTS.index(name), 1]
        for name in ("nose", "neck", "right hip", "right knee", "right ankle")
    ]
    assert heights == sorted(heights)
    assert heights[-1] - heights[0] > 60


def test_the_neck_is_between_the_shoulders(finder: PeopleFinder, picture: Frames) -> None:
    """And as certain as the less certain of them."""
    man_KX = from_left(finder.find(picture))[0]
    shoulders = man_KX[[JOINTS.index("right shoulder"), JOINTS.index("left shoulder")]]
    neck_X = man_KX[JOINTS.index("neck")]
    assert neck_X == pytest.approx([*shoulders[:, :2].mean(0), shoulders[:, 2].min()], abs=1e-3)


def test_a_mirrored_picture_gives_mirrored_people(finder: PeopleFinder, picture: Frames) -> None:
    """In places: the frame is neither turned nor squeezed on its way to the model."""
    straight_PKX = from_left(finder.find(picture))
    mirrored_PKX = from_left(finder.find(picture[:, ::-1].copy()))[::-1]
    neck = JOINTS.index("neck")
    assert mirrored_PKX[:, neck, 0] == pytest.approx(WIDTH - straight_PKX[:, neck, 0], abs=8)
    assert mirrored_PKX[:, neck, 1] == pytest.approx(straight_PKX[:, neck, 1], abs=8)


@pytest.mark.parametrize("size", [Size(256, 448), Size(96, 64), Size(130, 500)])
def test_any_shape_of_frame_is_taken(finder: PeopleFinder, size: Size) -> None:
    """Upright ones, small ones, odd ones; a landscape has nobody."""
    empty_THWC = np.full((2, size.height, size.width, 3), 90, np.uint8)
    drawn_THWC = finder.skeletons(empty_THWC)
    assert (drawn_THWC.shape, drawn_THWC.dtype) == (empty_THWC.shape, np.uint8)
    assert drawn_THWC.max() == 0


def test_joints_scale_with_the_frame(finder: PeopleFinder) -> None:
    """The same moment at another size: the same places, in its pixels."""
    small, large = (
        from_left(finder.find(footage(w, h, 1)[0])) for w, h in ((448, 256), (896, 512))
    )
    neck = JOINTS.index("neck")
    assert small[:, neck, :2] * 2 == pytest.approx(large[:, neck, :2], abs=8)
