"""Depth: near is white, one scale for the clip, and calm where the source is."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from rotoscope.media.clip import Frames, Size
from rotoscope.preprocess.depth import FastDepth, Shades, look
from rotoscope.preprocess.steady import Depths
from rotoscope.preprocess.weights import SHIPPED
from tests.effects import scenes

SIZE = Size(scenes.WIDTH, scenes.HEIGHT)
Shade = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def model() -> FastDepth:
    return FastDepth(SHIPPED / "fastdepth.onnx")


def shades_of(source_THWC: Frames, model: FastDepth) -> Shade:
    """Grey in 0 to 255, T x H x W."""
    frames = len(source_THWC)
    drawn_THWC = look(model, [source_THWC]).draw(0, frames, SIZE)
    assert drawn_THWC.shape == source_THWC.shape
    assert (drawn_THWC == drawn_THWC[..., :1]).all()
    return drawn_THWC[..., 0].astype(np.float64)


def busy_corridor(frames: int) -> Frames:
    """The corridor with a camera's noise, and a red box that crosses it."""
    picture_HWC, _ = scenes.corridor()
    chance = np.random.default_rng(0)
    source_THWC = picture_HWC + chance.normal(0, 1.0, (frames, *picture_HWC.shape))
    for t in range(frames):
        source_THWC[t, 60:110, 20 + 6 * t : 50 + 6 * t] = (200, 40, 40)
    return np.rint(np.clip(source_THWC, 0, 255)).astype(np.uint8)


def test_near_is_brighter_than_far(model: FastDepth) -> None:
    """In a drawn corridor the shades follow the true nearness, from all but black to white."""
    picture_HWC, depth_HW = scenes.corridor()
    (shade_HW,) = shades_of(picture_HWC[None], model)

    assert np.corrcoef(shade_HW.ravel(), (1 / depth_HW).ravel())[0, 1] > 0.85
    assert shade_HW[depth_HW < 3.5].mean() > 150
    assert shade_HW[depth_HW > 7].mean() < 40
    assert (shade_HW.min(), shade_HW.max()) == (0, 255)


def test_a_still_scene_does_not_flicker(model: FastDepth) -> None:
    """Where nothing passes, shades change by less than a level a frame; the raw ones do not."""
    source_THWC = busy_corridor(24)
    still_HW = np.zeros(source_THWC.shape[1:3], bool)
    still_HW[:50] = True

    calm_THW = shades_of(source_THWC, model)[:, still_HW]
    alone_THW = np.stack([shades_of(one[None], model)[0] for one in source_THWC])[:, still_HW]
    changes = [float(abs(np.diff(shades, axis=0)).mean()) for shades in (calm_THW, alone_THW)]
    assert changes[0] < 0.5
    assert changes[1] > 4 * changes[0]


def test_the_scale_is_that_of_the_clip() -> None:
    """A frame without anything near stays dark beside one that has it."""
    depth_THW = np.ones((2, 8, 8), np.float16)
    depth_THW[0, :, :4], depth_THW[1, :, 4:] = 2, 5
    grey_THW = (depth_THW * 40).astype(np.uint8)
    drawn_TW = Shades(depth_THW, grey_THW).draw(0, 2, Size(8, 8))[:, 0, :, 0]
    assert drawn_TW[:, 0].tolist() == [64, 0]
    assert drawn_TW[:, 7].tolist() == [0, 255]


def test_outliers_do_not_set_the_scale() -> None:
    """Half a per cent of absurd depths leaves the rest its contrast."""
    depth_THW = np.tile(np.linspace(1, 2, 100, dtype=np.float16), (1, 100, 1))
    depth_THW.reshape(-1)[::211] = 500
    drawn_HW = Shades(depth_THW, np.zeros(depth_THW.shape, np.uint8)).draw(0, 1, Size(100, 100))[0]
    assert drawn_HW[50, 98, 0] > 240
    assert drawn_HW[50, 1, 0] < 10


def test_a_flat_scene_is_even() -> None:
    """One depth everywhere is one shade, not noise or an error."""
    flat_THW = np.full((2, 4, 4), 1.5, np.float16)
    drawn_THWC = Shades(flat_THW, np.zeros(flat_THW.shape, np.uint8)).draw(0, 2, Size(32, 32))
    assert np.ptp(drawn_THWC) == 0


def test_chunks_make_no_difference(model: FastDepth) -> None:
    """The same clip in pieces of any length."""
    source_THWC = busy_corridor(5)
    whole, pieces = (
        look(model, chunks).draw(0, 5, SIZE)
        for chunks in ([source_THWC], [source_THWC[:2], source_THWC[2:4], source_THWC[4:]])
    )
    assert (whole == pieces).all()


def test_an_upright_picture_stays_upright() -> None:
    """Depths of another shape are stretched over the frame, not turned."""

    def left_is_near(frames_THWC: Frames) -> Depths:
        depth_THW = np.zeros((len(frames_THWC), 10, 20), np.float16)
        depth_THW[:, :, :10] = 1
        return depth_THW

    source_THWC = np.stack([cv2.resize(scenes.landscape(), (32, 96))])
    drawn_HW = look(left_is_near, [source_THWC]).draw(0, 1, Size(32, 96))[0, ..., 0]
    assert drawn_HW.shape == (96, 32)
    assert drawn_HW[:, 4].min() == 255
    assert drawn_HW[:, 28].max() == 0
