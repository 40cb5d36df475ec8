"""How people are drawn."""

import numpy as np
import pytest

from rotoscope.media.clip import Size
from rotoscope.preprocess.skeleton import COLOURS, JOINTS, LIMB_BRIGHTNESS, LIMBS, Joints, draw

SIZE = Size(512, 512)


def person(seen: set[str], at: tuple[float, float] = (100, 100)) -> Joints:
    """Joints 20 pixels apart on a diagonal; those not in `seen` are uncertain."""
    steps_K = np.arange(len(JOINTS), dtype=np.float32)
    certain_K = [0.9 if name in seen else 0.1 for name in JOINTS]
    return np.stack([at[0] + 20 * steps_K, at[1] + 20 * steps_K, certain_K], 1).astype(np.float32)


def test_nobody_is_black() -> None:
    """A frame of the right size without people."""
    drawn_HWC = draw(np.zeros((0, 18, 3), np.float32), Size(64, 32))
    assert (drawn_HWC.shape, drawn_HWC.max()) == ((32, 64, 3), 0)


@pytest.mark.parametrize("name", JOINTS)
def test_a_joint_has_its_colour_at_its_place(name: str) -> None:
    """Full brightness, RGB; uncertain joints and their limbs are left out."""
    drawn_HWC = draw(person({name})[None], SIZE)
    place = 100 + 20 * JOINTS.index(name)

    assert tuple(drawn_HWC[place, place]) == COLOURS[JOINTS.index(name)]
    down_N, right_N = np.nonzero(drawn_HWC.any(-1))
    assert max(abs(down_N - place).max(), abs(right_N - place).max()) == 4


@pytest.mark.parametrize("limb", LIMBS)
def test_a_limb_has_its_colour_between_its_joints(limb: tuple[int, int]) -> None:
    """60 % of it, half way."""
    drawn_HWC = draw(person({JOINTS[limb[0]], JOINTS[limb[1]]})[None], SIZE)
    middle = 100 + 10 * sum(limb)

    expected = LIMB_BRIGHTNESS * np.array(COLOURS[LIMBS.index(limb)])
    assert abs(drawn_HWC[middle, middle] - expected).max() <= 1


def test_the_body_is_that_of_openpose() -> None:
    """The right upper arm is orange, the left thigh light blue: right is not left."""
    places = {name: JOINTS.index(name) for name in JOINTS}
    arm = (places["right shoulder"], places["right elbow"])
    leg = (places["left hip"], places["left knee"])

    assert COLOURS[LIMBS.index(arm)] == (255, 170, 0)
    assert COLOURS[LIMBS.index(leg)] == (0, 170, 255)


def test_small_pictures_have_thin_lines() -> None:
    """A joint is as wide, for its picture, at any size; never less than a pixel."""
    widths = [
        int(draw(person({"nose"}, (32, 32))[None], Size(side, side)).any(-1).any(0).sum())
        for side in (64, 256, 1024)
    ]
    assert widths == [3, 5, 17]


def test_everyone_is_drawn() -> None:
    """Two people, two places; one partly outside the picture does no harm."""
    two_PKX = np.stack([person({"nose"}, (50, 50)), person({"nose"}, (-3, 400))])
    drawn_HWC = draw(two_PKX, SIZE)
    assert drawn_HWC[50, 50].any()
    assert drawn_HWC[400, 0].any()
