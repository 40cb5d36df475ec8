"""What can be measured about a video and its sound, in numbers that mean something.

Pictures are RGB, uint8; measures of them use luma and chroma of BT.709 in 0 to 1 and -0.5 to 0.5.
Each function takes whole clips and answers one number (or a few) for all of it. Only PyAV and numpy
are needed, so that results of any server can be measured.

Dimension key of array names:

    T  frames          S  samples of sound
    H  height, pixels  C  colour channels (RGB) or sound channels
    W  width, pixels   N  places, rows of a least-squares problem
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace, VideoReformatter

Frames = npt.NDArray[np.uint8]
Real = npt.NDArray[np.float64]

RED, GREEN, BLUE = 0.2126, 0.7152, 0.0722
BLOCK = 8
WINDOW = 64
"""Side of the windows in which motion is looked for, in pixels."""
DRIFT_BLUR, DRIFT_MARGIN = 6.0, 16
"""Of pictures that are compared for a small motion: how far they are blurred, and what is cut."""
SOUND_WINDOW_S, SOUND_HOP_S = 0.04, 0.01
SILENCE_DB = -120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A file as it was decoded, frame by frame."""

    frames_THWC: Frames
    fps: Fraction
    duration_s: float
    codec: str
    sound_CS: npt.NDArray[np.float32] | None
    """In -1 to 1; None where the file has no sound track."""
    sound_rate: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        _, height, width, _ = self.frames_THWC.shape
        return width, height


@dataclass(frozen=True, slots=True)
class Motion:
    """How the whole picture moves: pixels a frame, and growth a frame (0.01 is one per cent)."""

    right: float
    down: float
    growth: float


def read(path: Path) -> Recording:
    """Decode all of a video file.

    Raises:
        av.error.FFmpegError: It is no video.
    """
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames_THWC = _frames(container)
        sound_CS, rate = _sound(container)
        return Recording(
            frames_THWC=frames_THWC,
            fps=Fraction(stream.average_rate or 0),
            duration_s=float((stream.duration or 0) * (stream.time_base or 0)),
            codec=stream.codec_context.name,
            sound_CS=sound_CS,
            sound_rate=rate,
        )


def luma(frames_THWC: Frames) -> Real:
    """Brightness of each pixel, 0 to 1; shape (T, H, W)."""
    return frames_THWC.astype(np.float64) @ np.array([RED, GREEN, BLUE]) / 255


def chroma(frames_THWC: Frames) -> Real:
    """Blue and red difference of each pixel, -0.5 to 0.5; shape (T, H, W, 2)."""
    luma_THW = luma(frames_THWC)
    blue_THW = (frames_THWC[..., 2] / 255 - luma_THW) / (2 - 2 * BLUE)
    red_THW = (frames_THWC[..., 0] / 255 - luma_THW) / (2 - 2 * RED)
    return np.stack([blue_THW, red_THW], axis=-1)


def brightness(frames_THWC: Frames) -> float:
    """Mean luma, 0 to 1."""
    return float(luma(frames_THWC).mean())


def contrast(frames_THWC: Frames) -> float:
    """Standard deviation of luma within a frame, averaged over frames; 0 to 0.5."""
    return float(luma(frames_THWC).std(axis=(1, 2)).mean())


def saturation(frames_THWC: Frames) -> float:
    """Mean distance from grey in the chroma plane; 0 for greys, 0.5 and more for pure colours."""
    return float(np.hypot(*np.moveaxis(chroma(frames_THWC), -1, 0)).mean())


def tint(frames_THWC: Frames) -> tuple[float, float]:
    """Mean blue and red difference, each -0.5 to 0.5: the cast over the whole picture."""
    blue, red = chroma(frames_THWC).reshape(-1, 2).mean(axis=0)
    return float(blue), float(red)


def warmth(frames_THWC: Frames) -> float:
    """Mean of red less blue, -1 (all blue) to 1 (all red)."""
    return float((frames_THWC[..., 0].astype(float) - frames_THWC[..., 2]).mean() / 255)


def tone_range(frames_THWC: Frames) -> int:
    """How many distinct colours there are at 4 bits a channel, in the median frame."""
    coarse_THW = (frames_THWC >> 4).astype(int) @ np.array([256, 16, 1])
    return int(np.median([len(np.unique(frame)) for frame in coarse_THW]))


def block_means(values_THW: Real) -> Real:
    """Mean of each 8x8 block; shape (T, blocks)."""
    return _blocks(values_THW).mean(axis=-1)


def psnr(one_THWC: Frames, other_THWC: Frames) -> float:
    """Likeness of two clips of one shape in decibels; 100 where they are the same."""
    error = np.square(one_THWC.astype(np.float64) - other_THWC).mean() / 255**2
    return float(min(100.0, -10 * np.log10(max(error, 1e-10))))


def distance(one_THWC: Frames, other_THWC: Frames) -> float:
    """Root mean square difference of two clips of one shape, 0 to 1."""
    return float(np.sqrt(np.square(one_THWC.astype(np.float64) - other_THWC).mean()) / 255)


def likeness(one: Real, other: Real) -> float:
    """Correlation of two arrays of one shape, -1 to 1; 0 where either is flat."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / scale if scale > 1e-12 else 0.0


def correlation(one_THWC: Frames, other_THWC: Frames) -> float:
    """Correlation of two clips' luma over space and time, -1 (a negative) to 1."""
    return likeness(luma(one_THWC), luma(other_THWC))


def edge_correlation(one_THWC: Frames, other_THWC: Frames) -> float:
    """Correlation of two clips' edge strengths, frame by frame, averaged; -1 to 1.

    Colours, brightness and a negative do not matter, where things are does. Both are smoothed over
    3x3 pixels, so that half a pixel is no miss.
    """
    pairs = zip(edges(one_THWC), edges(other_THWC), strict=True)
    return float(np.mean([likeness(one_HW, other_HW) for one_HW, other_HW in pairs]))


def edges(frames_THWC: Frames) -> Real:
    """Length of the gradient of luma, of a 3x3 mean; shape (T, H, W)."""
    down_THW, right_THW = np.gradient(_smooth(luma(frames_THWC)), axis=(1, 2))
    return np.hypot(down_THW, right_THW)


def sharpness(frames_THWC: Frames) -> float:
    """Strength of the finest detail over that of all detail; blur lowers it, 0 for a flat picture.

    A gain or an offset of the whole picture leaves it as it is.
    """
    luma_THW = luma(frames_THWC)
    spread = luma_THW.std(axis=(1, 2)).mean()
    return float(_detail(luma_THW).std() / spread) if spread > 1e-6 else 0.0


def grain(frames_THWC: Frames) -> float:
    """Noise that is new in each frame, where nothing moves; 0 to about 0.5.

    The deviation of a pixel from the mean of the frames before and after, in the calmest quarter of
    8x8 blocks: moving things lie in others, and edges and textures that stand still do not count.
    """
    turns_TNP = _blocks(np.diff(luma(frames_THWC), n=2, axis=0) / np.sqrt(6))
    strength_TN = np.sqrt(np.square(turns_TNP).mean(axis=-1))
    return float(np.quantile(strength_TN, 0.25, axis=1).mean())


def flicker(frames_THWC: Frames) -> float:
    """How unsteady brightness is in time: mean second difference of 8x8 blocks' luma, 0 to 2.

    Fades and slow motion have none; a frame, or a group of frames, that jumps has much.
    """
    means_TN = block_means(luma(frames_THWC))
    return float(np.abs(np.diff(means_TN, n=2, axis=0)).mean())


def jumps(frames_THWC: Frames, period: int = 8) -> float:
    """Mean change into frames 1, 9, 17 … over the mean change into all others; 1 is even.

    Latent video models make frames in groups of `period`; where groups do not join, this rises.
    """
    changes_T = np.abs(np.diff(luma(frames_THWC), axis=0)).mean(axis=(1, 2))
    starts_T = np.arange(len(changes_T)) % period == 0
    return float(changes_T[starts_T].mean() / max(changes_T[~starts_T].mean(), 1e-9))


def blockiness(frames_THWC: Frames, cells: tuple[int, ...] = (4, 8, 16)) -> float:
    """Steps at the borders of square cells over steps inside, for the cell size that shows most.

    About 1 for natural pictures, far more for a mosaic whose cells start at the top left.
    """
    luma_THW = luma(frames_THWC)
    return max(_grid_contrast(luma_THW, cell) for cell in cells)


def dark_share(frames_THWC: Frames, below: float = 0.1) -> float:
    """Share of the pixels whose luma is less than `below`."""
    return float((luma(frames_THWC) < below).mean())


def motion(frames_THWC: Frames, step: int = 1) -> Motion:
    """Movement of the whole picture, averaged over all frames.

    Phase correlation of overlapping windows between frames `step` apart, then a fit of a shift and
    a growth about the centre, in which windows that go elsewhere lose their say.
    """
    luma_THW = luma(frames_THWC)
    pairs = zip(luma_THW[:-step], luma_THW[step:], strict=True)
    right, down, growth = np.mean([_fit_motion(old, new) for old, new in pairs], axis=0) / step
    return Motion(float(right), float(down), float(growth))


def drift(still_THWC: Frames, moved_THWC: Frames) -> Motion:
    """How much further one clip moves than another of the same scene, over all frames.

    Of each pair of frames, blurred, the small shift and growth that explain most of what differs
    (Lucas and Kanade's equation for the whole picture); then the slope of those over time.
    """
    pairs = zip(luma(still_THWC), luma(moved_THWC), strict=True)
    shifts_TN = np.stack([_small_motion(_blurred(old), _blurred(new)) for old, new in pairs])
    slopes = np.polyfit(np.arange(len(shifts_TN)), shifts_TN, 1)[0]
    return Motion(*(float(slope) for slope in slopes))


def level_db(sound_CS: npt.NDArray[np.float32]) -> float:
    """Loudness: root mean square in decibels below full scale; -120 for silence."""
    power = float(np.square(sound_CS, dtype=np.float64).mean())
    return max(SILENCE_DB, float(10 * np.log10(max(power, 1e-12))))


def centroid_hz(sound_CS: npt.NDArray[np.float32], rate: int) -> float:
    """Middle of the power spectrum: low for a hum, high for rain; 0 for silence."""
    power_F, hz_F = _spectrum(sound_CS, rate)
    return float(power_F @ hz_F / power_F.sum()) if power_F.sum() > 0 else 0.0


def peak_hz(sound_CS: npt.NDArray[np.float32], rate: int) -> float:
    """Strongest frequency, to 5 Hz or so at 0.2 s and more of sound."""
    power_F, hz_F = _spectrum(sound_CS, rate)
    return float(hz_F[power_F.argmax()])


def tonality(sound_CS: npt.NDArray[np.float32], rate: int) -> float:
    """Share of the power within a semitone (or 25 Hz) of its peak; 0 (noise) to 1 (a note)."""
    power_F, hz_F = _spectrum(sound_CS, rate)
    middle = hz_F[power_F.argmax()]
    near_F = np.abs(hz_F - middle) <= max(0.06 * middle, 1 / SOUND_WINDOW_S)
    return float(power_F[near_F].sum() / max(power_F.sum(), 1e-12))


def periodicity(
    sound_CS: npt.NDArray[np.float32], rate: int, *, shortest_s: float = 0.2, longest_s: float = 1.2
) -> float:
    """How regularly loudness comes and goes: best autocorrelation of the envelope; 0 to 1.

    Only swings count that are a fair share of the loudness, so that steady sounds have little.
    """
    envelope_T = _envelope(sound_CS, rate)
    swing_T = envelope_T - envelope_T.mean()
    depth = min(1.0, float(swing_T.std() / max(envelope_T.mean(), 1e-9)) * 2)
    first, last = int(shortest_s / SOUND_HOP_S), int(longest_s / SOUND_HOP_S)
    last = min(last, len(swing_T) * 2 // 3)
    echoes = [likeness(swing_T[:-lag], swing_T[lag:]) for lag in range(first, last)]
    return max(0.0, max(echoes, default=0.0)) * depth


def _frames(container: Any) -> Frames:
    reformatter = VideoReformatter()
    # Untagged files are ours too: BT.709 is what video of this kind means.
    pictures = [
        reformatter.reformat(frame, format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray()
        for frame in container.decode(video=0)
    ]
    return np.stack(pictures)


def _sound(container: Any) -> tuple[npt.NDArray[np.float32] | None, int]:
    if not container.streams.audio:
        return None, 0
    container.seek(0)
    stream = container.streams.audio[0]
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    blocks = [
        block.to_ndarray()
        for frame in container.decode(audio=0)
        for block in resampler.resample(frame)
    ]
    return np.concatenate(blocks, axis=1).astype(np.float32), stream.rate


def _smooth(values_THW: Real) -> Real:
    """Mean over 3x3 pixels; the border repeats."""
    padded = np.pad(values_THW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def _detail(values_THW: Real) -> Real:
    return values_THW - _smooth(values_THW)


def _blocks(values_THW: Real, side: int = BLOCK) -> Real:
    """Cut into square blocks; shape (T, blocks, pixels of a block). A rest at the rim is left."""
    frames, height, width = values_THW.shape
    rows, columns = height // side, width // side
    cut = values_THW[:, : rows * side, : columns * side]
    grid = cut.reshape(frames, rows, side, columns, side).swapaxes(2, 3)
    return grid.reshape(frames, rows * columns, side * side)


def _grid_contrast(luma_THW: Real, cell: int) -> float:
    steps_W = np.abs(np.diff(luma_THW, axis=2)).mean(axis=(0, 1))
    steps_H = np.abs(np.diff(luma_THW, axis=1)).mean(axis=(0, 2))
    ratios = []
    for steps in (steps_W, steps_H):
        border = np.arange(1, len(steps) + 1) % cell == 0
        ratios.append(steps[border].mean() / max(steps[~border].mean(), 1e-4))
    return float(np.mean(ratios))


def _blurred(luma_HW: Real) -> Real:
    """By a Gaussian of DRIFT_BLUR pixels; the picture repeats beyond its edges."""
    height, width = luma_HW.shape
    squares_HW = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width) ** 2
    kernel_HW = np.exp(-2 * (np.pi * DRIFT_BLUR) ** 2 * squares_HW)
    return np.fft.irfft2(np.fft.rfft2(luma_HW) * kernel_HW, s=luma_HW.shape)


def _small_motion(old_HW: Real, new_HW: Real) -> Real:
    """Right, down and growth about the centre from one picture to the next."""
    slope_y_HW, slope_x_HW = np.gradient((old_HW + new_HW) / 2)
    height, width = old_HW.shape
    y_HW, x_HW = np.mgrid[:height, :width] - np.array([height - 1, width - 1])[:, None, None] / 2
    inner = np.s_[DRIFT_MARGIN:-DRIFT_MARGIN, DRIFT_MARGIN:-DRIFT_MARGIN]
    growing_HW = slope_x_HW * x_HW + slope_y_HW * y_HW
    causes_NC = np.stack([one[inner].ravel() for one in (slope_x_HW, slope_y_HW, growing_HW)], 1)
    found: Real = np.linalg.lstsq(causes_NC, (old_HW - new_HW)[inner].ravel(), rcond=None)[0]
    return found


def _fit_motion(old_HW: Real, new_HW: Real) -> Real:
    """Shift right and down at the centre, and growth, from one frame to another."""
    moved_N2, place_N2, trust_N = _window_shifts(old_HW, new_HW)
    # Unknowns: right, down, growth; a row for each window's shift right, and one for each down.
    ones, zeros = np.ones(len(moved_N2)), np.zeros(len(moved_N2))
    rows_N3 = np.concatenate(
        [
            np.stack([ones, zeros, place_N2[:, 0]], axis=1),
            np.stack([zeros, ones, place_N2[:, 1]], axis=1),
        ]
    )
    aims_N, trust_N = moved_N2.T.reshape(-1), np.tile(trust_N, 2)
    answer = np.zeros(3)
    for _ in range(10):
        answer = np.linalg.lstsq(rows_N3 * trust_N[:, None], aims_N * trust_N, rcond=None)[0]
        trust_N = np.tile(_trust(aims_N - rows_N3 @ answer), 2)
    return answer


def _trust(errors_N: Real) -> Real:
    """Weight of each window: half where it is half a pixel off, little where it is far off."""
    return 1 / (1 + np.square(np.hypot(*errors_N.reshape(2, -1)) / 0.5))


def _window_shifts(old_HW: Real, new_HW: Real) -> tuple[Real, Real, Real]:
    """Shift (right, down) of each window, its centre's place from the middle, and its detail."""
    height, width = old_HW.shape
    side = min(WINDOW, height, width)
    moved, place, trust = [], [], []
    for top in _starts(height, side):
        for left in _starts(width, side):
            part = np.s_[top : top + side, left : left + side]
            moved.append(_shift(old_HW[part], new_HW[part]))
            place.append((left + side / 2 - width / 2, top + side / 2 - height / 2))
            trust.append(old_HW[part].std() + 1e-6)
    return np.array(moved), np.array(place), np.array(trust)


def _starts(length: int, side: int) -> list[int]:
    count = max(1, round((length - side) / (side / 2)) + 1)
    return [int(start) for start in np.linspace(0, length - side, count)]


def _shift(old_HW: Real, new_HW: Real) -> tuple[float, float]:
    """Pixels by which a window's content went right and down, to a fraction of a pixel."""
    side = len(old_HW)
    taper = np.outer(np.hanning(side), np.hanning(side))
    old_FF = np.fft.fft2((old_HW - old_HW.mean()) * taper)
    new_FF = np.fft.fft2((new_HW - new_HW.mean()) * taper)
    cross_FF = new_FF * old_FF.conj()
    # Half whitened: full whitening lets the noise of compression speak as loud as the picture.
    match_HW = np.fft.ifft2(cross_FF / np.sqrt(np.abs(cross_FF) + 1e-12)).real
    row, column = np.unravel_index(match_HW.argmax(), match_HW.shape)
    down = row + _vertex(match_HW[:, column], int(row))
    right = column + _vertex(match_HW[row], int(column))
    half = side / 2
    return float((right + half) % side - half), float((down + half) % side - half)


def _vertex(values: Real, at: int) -> float:
    """Where between -0.5 and 0.5 a parabola through the peak and its neighbours is highest."""
    before, here, after = values[at - 1], values[at], values[(at + 1) % len(values)]
    curve = before - 2 * here + after
    return float(np.clip((before - after) / (2 * curve), -0.5, 0.5)) if curve < 0 else 0.0


def _windows(sound_CS: npt.NDArray[np.float32], rate: int) -> Real:
    """Overlapping pieces of the mono sum; shape (T, samples of a window)."""
    mono_S = sound_CS.mean(axis=0, dtype=np.float64)
    length, hop = int(SOUND_WINDOW_S * rate), int(SOUND_HOP_S * rate)
    if len(mono_S) < length:
        mono_S = np.pad(mono_S, (0, length - len(mono_S)))
    return np.lib.stride_tricks.sliding_window_view(mono_S, length)[::hop]


def _spectrum(sound_CS: npt.NDArray[np.float32], rate: int) -> tuple[Real, Real]:
    """Mean power at each frequency, and the frequencies in Hz; finer than windows by padding."""
    pieces = _windows(sound_CS, rate)
    taper = np.hanning(pieces.shape[1])
    power_TF = np.square(np.abs(np.fft.rfft(pieces * taper, n=8 * pieces.shape[1])))
    return power_TF.mean(axis=0), np.fft.rfftfreq(8 * pieces.shape[1], 1 / rate)


def _envelope(sound_CS: npt.NDArray[np.float32], rate: int) -> Real:
    """Loudness (root mean square) every 10 ms."""
    return np.sqrt(np.square(_windows(sound_CS, rate)).mean(axis=1))
