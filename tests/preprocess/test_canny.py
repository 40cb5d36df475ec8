"""Edges: where they are, and how they are drawn."""

import numpy as np

from rotoscope.preprocess.canny import edges
from tests.effects import scenes


def test_edges_are_white_on_black() -> None:
    """Two values, the same in each channel."""
    drawn_THWC = edges(scenes.discs(2))
    assert set(np.unique(drawn_THWC)) == {0, 255}
    assert (drawn_THWC[..., 0] == drawn_THWC[..., 1]).all()
    assert (drawn_THWC[..., 0] == drawn_THWC[..., 2]).all()


def test_edges_are_where_the_brightness_jumps() -> None:
    """A bright square has them along its four sides and nowhere else."""
    source_THWC = np.zeros((1, 64, 64, 3), np.uint8)
    source_THWC[:, 20:40, 20:40] = 200
    drawn_HW = edges(source_THWC)[0, ..., 0] > 0

    down_N, right_N = np.nonzero(drawn_HW)
    to_side_N = np.minimum.reduce(
        [abs(down_N - 19.5), abs(down_N - 39.5), abs(right_N - 19.5), abs(right_N - 39.5)]
    )
    assert to_side_N.max() <= 1.5
    assert 60 <= len(down_N) <= 100


def test_each_frame_stands_alone() -> None:
    """The edges of a frame are the same in any company."""
    source_THWC = scenes.discs(3)
    assert (edges(source_THWC)[1:2] == edges(source_THWC[1:2])).all()
