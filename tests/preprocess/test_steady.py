"""Depth that stands still where the source does, and moves where it moves."""

import numpy as np
import pytest

from rotoscope.preprocess.steady import Depths, Greys, steady

FRAMES, SIDE = 32, 16


def noisy(seed: int = 0) -> Depths:
    """A wall at 1.0 that a model gives another depth in each frame."""
    chance = np.random.default_rng(seed)
    offsets_T11 = chance.normal(0, 0.1, (FRAMES, 1, 1))
    return (1 + offsets_T11 + chance.normal(0, 0.02, (FRAMES, SIDE, SIDE))).astype(np.float16)


def grain(seed: int = 1) -> Greys:
    """A grey wall with a camera's noise."""
    chance = np.random.default_rng(seed)
    return np.rint(120 + chance.normal(0, 0.7, (FRAMES, SIDE, SIDE))).astype(np.uint8)


def flicker(depth_THW: Depths) -> float:
    return float(abs(np.diff(depth_THW.astype(np.float32), axis=0)).mean())


def test_a_still_wall_does_not_flicker() -> None:
    """Less than a tenth of what the model's own depth does, from the first frame on."""
    raw_THW = noisy()
    calm_THW = steady(raw_THW, grain())

    assert flicker(calm_THW) < flicker(raw_THW) / 10
    assert flicker(calm_THW[:4]) < flicker(raw_THW) / 10
    assert abs(calm_THW.astype(np.float32).mean() - raw_THW.astype(np.float32).mean()) < 0.01


def test_a_cut_is_kept() -> None:
    """Two scenes do not bleed into each other."""
    depth_THW = np.ones((FRAMES, SIDE, SIDE), np.float16)
    depth_THW[16:] = 3
    grey_THW = np.full((FRAMES, SIDE, SIDE), 50, np.uint8)
    grey_THW[16:] = 180
    calm_THW = steady(depth_THW, grey_THW)
    assert (calm_THW[15].max(), calm_THW[16].min()) == (1, 3)


def test_a_moving_thing_keeps_its_depth() -> None:
    """It is at its own depth wherever it is, and the wall is back as soon as it has passed."""
    depth_THW, grey_THW = noisy(), grain()
    for t in range(FRAMES):
        left = t // 4
        depth_THW[t, 4:8, left : left + 4] = 4
        grey_THW[t, 4:8, left : left + 4] = 220
    calm_THW = steady(depth_THW, grey_THW).astype(np.float32)

    for t in range(0, FRAMES, 4):
        left = t // 4
        assert abs(calm_THW[t, 4:8, left : left + 4] - 4).max() < 0.1
        assert abs(calm_THW[t, 4:8, left + 5 :] - 1).max() < 0.5
    assert flicker(calm_THW[:, 10:]) < flicker(depth_THW[:, 10:]) / 10


def test_nothing_is_averaged_while_all_moves() -> None:
    """Under a moving camera the model's depth stays what it was."""
    chance = np.random.default_rng(2)
    grey_THW = chance.integers(0, 255, (FRAMES, SIDE, SIDE), dtype=np.uint8)
    depth_THW = noisy()
    assert steady(depth_THW, grey_THW) == pytest.approx(depth_THW, abs=0.02)


def test_one_frame_stays_as_it_is() -> None:
    """There is nothing to average it with."""
    assert (steady(noisy()[:1], grain()[:1]) == noisy()[:1]).all()
