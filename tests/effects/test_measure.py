"""The measures themselves, on pictures and sounds whose answers are known."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rotoscope.media.clip import Audio, Clip
from rotoscope.media.encode import encode
from tests.effects import measure, scenes

RATE = 24_000
Sound = npt.NDArray[np.float32]


def flat(*colour: int, frames: int = 3) -> measure.Frames:
    return np.full((frames, 64, 96, 3), colour, dtype=np.uint8)


def noisy(frames: measure.Frames, strength: float) -> measure.Frames:
    """With grey noise of this standard deviation, in levels of 0 to 255."""
    noise = np.random.default_rng(1).normal(0, strength, (*frames.shape[:-1], 1))
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def mosaic(frames: measure.Frames, cell: int) -> measure.Frames:
    _, height, width, _ = frames.shape
    small = scenes.resized(frames, width // cell, height // cell)
    return small.repeat(cell, axis=1).repeat(cell, axis=2)


def tone(hz: float, seconds: float = 2.0, level: float = 0.3) -> Sound:
    wave = level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)
    return np.stack([wave, wave]).astype(np.float32)


def noise(seconds: float = 2.0, level: float = 0.1) -> Sound:
    made = np.random.default_rng(2).normal(0, level, (2, int(seconds * RATE)))
    return made.astype(np.float32)


def beats(every_s: float) -> Sound:
    """Short bursts of noise, each fading within a tenth of a second."""
    since = np.arange(2 * RATE) / RATE % every_s
    return (noise() * np.exp(-since / 0.03)).astype(np.float32)


@pytest.fixture(scope="module")
def scene() -> measure.Frames:
    return scenes.still(scenes.landscape(), 3)


def test_brightness_and_contrast_of_known_pictures() -> None:
    """Black, white and half of each."""
    halves = flat(0, 0, 0)
    halves[:, :32] = 255

    assert measure.brightness(flat(0, 0, 0)) == 0
    assert measure.brightness(flat(255, 255, 255)) == pytest.approx(1)
    assert measure.brightness(halves) == pytest.approx(0.5)
    assert measure.contrast(flat(90, 20, 7)) == pytest.approx(0, abs=1e-9)
    assert measure.contrast(halves) == pytest.approx(0.5)


def test_greys_have_no_colour() -> None:
    """Of any brightness; pure colours have the standard's own chroma."""
    assert measure.saturation(flat(77, 77, 77)) == pytest.approx(0, abs=1e-9)
    assert measure.tint(flat(0, 0, 255))[0] == pytest.approx(0.5)
    assert measure.tint(flat(255, 0, 0))[1] == pytest.approx(0.5)
    assert measure.saturation(flat(255, 0, 0)) > measure.saturation(flat(200, 120, 110)) > 0.05


def test_warm_is_red_and_cold_is_blue() -> None:
    """On one scale, whose middle is grey."""
    assert measure.warmth(flat(200, 100, 0)) == pytest.approx(200 / 255)
    assert measure.warmth(flat(0, 100, 200)) == pytest.approx(-200 / 255)
    assert measure.warmth(flat(90, 90, 90)) == 0


def test_dark_share_counts_dark_pixels() -> None:
    """A quarter of this picture is black, and half is below middle grey."""
    frames = flat(200, 200, 200)
    frames[:, :16], frames[:, 16:32] = 0, 90

    assert measure.dark_share(frames) == pytest.approx(0.25)
    assert measure.dark_share(frames, below=0.5) == pytest.approx(0.5)


def test_block_means_of_a_checkerboard() -> None:
    """One number for each 8x8 block, row by row."""
    frames = flat(0, 0, 0)
    frames[:, :8, 8:16] = 255
    means = measure.block_means(measure.luma(frames))

    assert means.shape == (3, 8 * 12)
    assert means[0] == pytest.approx(np.eye(1, 96, 1)[0])


def test_tone_range_counts_colours(scene: measure.Frames) -> None:
    """A flat picture has one, a posterised one fewer than its original."""
    assert measure.tone_range(flat(10, 20, 30)) == 1
    assert measure.tone_range(scene // 64 * 64) < measure.tone_range(scene) / 2


@pytest.mark.parametrize("off", [1, 10, 50])
def test_psnr_of_a_known_error(off: int) -> None:
    """20 log10 of 255 over the error."""
    one, other = flat(100, 100, 100), flat(100 + off, 100 + off, 100 + off)

    assert measure.psnr(one, other) == pytest.approx(20 * np.log10(255 / off))
    assert measure.distance(one, other) == pytest.approx(off / 255)


def test_the_same_is_as_like_as_can_be(scene: measure.Frames) -> None:
    """In each measure of likeness."""
    assert measure.psnr(scene, scene) == 100
    assert measure.distance(scene, scene) == 0
    assert measure.correlation(scene, scene) == pytest.approx(1)
    assert measure.edge_correlation(scene, scene) == pytest.approx(1)


def test_a_negative_is_told_by_correlation_and_keeps_its_edges(scene: measure.Frames) -> None:
    """Luma turns over, edges stay."""
    assert measure.correlation(scene, 255 - scene) == pytest.approx(-1)
    assert measure.edge_correlation(scene, 255 - scene) == pytest.approx(1)


def test_edges_tell_one_scene_from_another(scene: measure.Frames) -> None:
    """Darker and greyer is the same scene; another landscape is not, nor this one elsewhere."""
    luma = measure.luma(scene)[..., None] * 255
    grey = np.repeat(0.5 * luma, 3, axis=-1).astype(np.uint8)
    other = scenes.still(scenes.landscape(seed=9), len(scene))
    shifted = np.roll(scene, 12, axis=2)

    assert measure.edge_correlation(scene, grey) > 0.95
    assert measure.edge_correlation(scene, other) < 0.3
    assert measure.edge_correlation(scene, shifted) < 0.3


def test_sharpness_falls_with_blur_and_ignores_gain(scene: measure.Frames) -> None:
    """What was kept small has less; what was dimmed has the same."""
    assert measure.sharpness(scenes.softened(scene, 2)) < 0.8 * measure.sharpness(scene)
    assert measure.sharpness(scenes.softened(scene, 4)) < 0.5 * measure.sharpness(scene)
    assert measure.sharpness(scene // 2) == pytest.approx(measure.sharpness(scene), rel=0.05)
    assert measure.sharpness(flat(9, 9, 9)) == 0


@pytest.mark.parametrize("strength", [4, 16])
def test_grain_is_the_noise_that_changes(scene: measure.Frames, strength: float) -> None:
    """As strong as was added, although the landscape is full of edges and part of it moves."""
    assert measure.grain(noisy(flat(120, 120, 120), strength)) == pytest.approx(
        strength / 255, rel=0.15
    )
    assert measure.grain(noisy(scene, strength)) == pytest.approx(strength / 255, rel=0.35)
    assert measure.grain(noisy(scenes.discs(3), strength)) == pytest.approx(
        strength / 255, rel=0.15
    )
    assert measure.grain(scenes.discs(3)) < 0.001


def test_flicker_is_not_motion_or_fading() -> None:
    """A slow fade has none; alternate frames that differ have all of it."""
    fade = np.concatenate([flat(5 * t, 5 * t, 5 * t, frames=1) for t in range(20)])
    strobe = np.concatenate([flat(100 + 10 * (t % 2), 100, 100, frames=1) for t in range(20)])

    assert measure.flicker(fade) == pytest.approx(0, abs=1e-9)
    assert measure.flicker(strobe) == pytest.approx(2 * 0.2126 * 10 / 255, rel=0.01)
    assert measure.flicker(scenes.panned(9, 1, 0)) < 0.02


def test_jumps_between_groups_of_frames() -> None:
    """Even motion has none; a step into frame 1 and 9 has."""
    even = scenes.panned(17, 1, 0)
    uneven = even.copy()
    uneven[1:9] = np.minimum(uneven[1:9], 235) + 20

    assert measure.jumps(even) == pytest.approx(1, abs=0.2)
    assert measure.jumps(uneven) > 2


@pytest.mark.parametrize("cell", [4, 8, 16])
def test_a_mosaic_is_blocky(scene: measure.Frames, cell: int) -> None:
    """Whatever its cells; the original is not."""
    assert measure.blockiness(mosaic(scene, cell)) > 5
    assert measure.blockiness(scene) < 1.6


@pytest.mark.parametrize(("right", "down"), [(2, 0), (-3, 0), (0, 1), (1, -2), (0.5, 0.25), (0, 0)])
def test_motion_of_a_pan(right: float, down: float) -> None:
    """To a quarter of a pixel, in both directions, without growth."""
    found = measure.motion(scenes.panned(5, right, down))

    assert (found.right, found.down) == pytest.approx((right, down), abs=0.25)
    assert found.growth == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("growth", [0.02, 0.005, -0.01])
def test_motion_of_a_zoom(growth: float) -> None:
    """Grows about the centre, and goes nowhere."""
    found = measure.motion(scenes.zoomed(9, growth), step=2)

    assert found.growth == pytest.approx(growth, rel=0.25)
    assert (found.right, found.down) == pytest.approx((0, 0), abs=0.15)


def test_motion_is_that_of_most_of_the_picture() -> None:
    """A disc that crosses a still scene does not move it."""
    frames = scenes.still(scenes.landscape(), 5)
    for t, frame in enumerate(frames):
        frame[40:70, 20 + 6 * t : 50 + 6 * t] = (230, 40, 40)

    found = measure.motion(frames)

    assert (found.right, found.down) == pytest.approx((0, 0), abs=0.25)


@pytest.mark.parametrize(("right", "down"), [(0.2, 0), (0, -0.2), (0.1, 0.3)])
def test_drift_of_a_pan(right: float, down: float) -> None:
    """Against the still scene, without growth."""
    still = scenes.still(scenes.panned(1, 0, 0)[0], 21)

    found = measure.drift(still, scenes.panned(21, right, down))

    assert (found.right, found.down) == pytest.approx((right, down), abs=0.05)
    assert found.growth == pytest.approx(0, abs=0.0005)


@pytest.mark.parametrize("growth", [0.002, -0.001])
def test_drift_of_a_zoom(growth: float) -> None:
    """Grows about the centre, and goes nowhere."""
    found = measure.drift(scenes.zoomed(21, 0), scenes.zoomed(21, growth))

    assert found.growth == pytest.approx(growth, rel=0.25)
    assert (found.right, found.down) == pytest.approx((0, 0), abs=0.02)


def test_level_of_known_sounds() -> None:
    """A sine is 3 dB below its peak; silence has the lowest level there is."""
    assert measure.level_db(tone(440, level=0.5)) == pytest.approx(
        20 * np.log10(0.5) - 3.01, abs=0.1
    )
    assert measure.level_db(np.zeros((2, RATE), dtype=np.float32)) == -120


def test_centroid_and_peak_of_known_sounds() -> None:
    """A tone has both at its pitch; white noise has the centroid in the middle."""
    assert measure.peak_hz(tone(440), RATE) == pytest.approx(440, abs=5)
    assert measure.centroid_hz(tone(440), RATE) == pytest.approx(440, rel=0.05)
    assert measure.centroid_hz(noise(), RATE) == pytest.approx(RATE / 4, rel=0.05)
    assert measure.centroid_hz(np.zeros((2, RATE), dtype=np.float32), RATE) == 0


def test_tonality_tells_notes_from_noise() -> None:
    """Nearly all of a note lies at one place, nearly nothing of noise."""
    assert measure.tonality(tone(440), RATE) > 0.9
    assert measure.tonality(noise(), RATE) < 0.1


def test_periodicity_tells_beats_from_steady_sounds() -> None:
    """Whatever their rate; tones, noise and silence have none."""
    assert measure.periodicity(beats(0.5), RATE) > 0.7
    assert measure.periodicity(beats(0.3), RATE) > 0.7
    for steady in (tone(440), noise(), np.zeros((2, 2 * RATE), dtype=np.float32)):
        assert measure.periodicity(steady, RATE) < 0.2


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    """Frames, colours, exact rate and sound of a file."""
    frames, fps = scenes.discs(9), Fraction(30000, 1001)
    sound = tone(440, seconds=float(9 / fps))
    written = encode(Clip(frames, fps, Audio(sound, RATE)), quality="maximum", into=tmp_path)

    found = measure.read(written.path)

    assert (found.size, found.fps, found.codec) == ((256, 128), fps, "h264")
    assert found.duration_s == pytest.approx(float(9 / fps), abs=0.002)
    assert measure.psnr(found.frames_THWC, frames) > 35
    assert measure.tint(found.frames_THWC) == pytest.approx(measure.tint(frames), abs=0.005)
    assert found.sound_CS is not None
    assert found.sound_rate == RATE
    assert measure.peak_hz(found.sound_CS, RATE) == pytest.approx(440, abs=5)


def test_reading_a_file_without_sound(tmp_path: Path) -> None:
    """There is no track, which is not the same as silence."""
    written = encode(Clip(scenes.discs(9), Fraction(25)), quality="low", into=tmp_path)

    assert measure.read(written.path).sound_CS is None
