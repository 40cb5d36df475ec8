"""Pictures and clips whose content and motion are known, drawn without any file.

Frames are (T, H, W, 3) RGB, uint8, unless a docstring says otherwise; positions are in pixels from
the top left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float64]
Colour = tuple[int, int, int]

WIDTH, HEIGHT = 256, 128
RED, GREEN, BLUE, YELLOW = (210, 50, 40), (50, 170, 70), (50, 80, 200), (230, 200, 60)


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc that moves evenly; `depth` is 0 (far) to 1 (near)."""

    x: float
    y: float
    radius: float
    colour: Colour
    right: float = 0
    """Pixels a frame."""
    down: float = 0
    depth: float = 0.6


DISCS = (
    Disc(60, 45, 26, RED, right=1.5, depth=0.7),
    Disc(190, 80, 34, BLUE, right=-1.0, down=-0.5, depth=0.95),
    Disc(130, 30, 18, YELLOW, down=1.5, depth=0.45),
)


def still(frame_HWC: Frames, frames: int) -> Frames:
    """One picture, `frames` times."""
    return np.repeat(frame_HWC[None], frames, axis=0)


def landscape(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Frames:
    """A picture (H, W, 3) of soft colour with detail everywhere: patches, bars and a gradient."""
    chance = np.random.default_rng(seed)
    down_HW, right_HW = np.mgrid[:height, :width]
    picture = np.stack(
        [90 + 60 * down_HW / height, 110 + 30 * right_HW / width, 150 - right_HW / 4]
    )
    for _ in range(60):
        x, y, w, h = (*chance.uniform((0, 0), (width, height)), *chance.uniform(8, 40, 2))
        inside = (abs(right_HW - x) < w / 2) & (abs(down_HW - y) < h / 2)
        picture[:, inside] = chance.uniform(30, 225, (3, 1))
    return _to_bytes(np.moveaxis(picture, 0, -1))


def panned(frames: int, right: float, down: float, seed: int = 0) -> Frames:
    """The landscape, moving by (right, down) pixels a frame; whole steps are exact."""
    margin = int(np.ceil(max(abs(right), abs(down)) * frames)) + 2
    wide = landscape(seed, WIDTH + 2 * margin, HEIGHT + 2 * margin).astype(np.float64)
    return np.stack(
        [_crop(wide, margin - right * t, margin - down * t, WIDTH, HEIGHT) for t in range(frames)]
    )


def zoomed(frames: int, growth: float, seed: int = 0) -> Frames:
    """The landscape growing about its centre by `growth` (0.01 is one per cent) a frame."""
    picture = landscape(seed).astype(np.float64)
    down_HW, right_HW = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    centre_x, centre_y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    made = []
    for t in range(frames):
        scale = (1 + growth) ** t
        made.append(
            _sample(
                picture,
                centre_x + (right_HW - centre_x) / scale,
                centre_y + (down_HW - centre_y) / scale,
            )
        )
    return np.stack(made)


def discs(frames: int, of: Sequence[Disc] = DISCS) -> Frames:
    """Shaded coloured discs that move over a grey gradient, the nearer in front."""
    down_HW, right_HW = np.mgrid[:HEIGHT, :WIDTH]
    made = []
    for t in range(frames):
        picture = np.repeat((100 + 50 * down_HW / HEIGHT)[..., None], 3, axis=-1)
        for disc in sorted(of, key=lambda disc: disc.depth):
            far_HW = _distance(disc, t, right_HW, down_HW)
            shade = 1.15 - 0.5 * np.clip(far_HW / disc.radius, 0, 1)[..., None] ** 2
            picture = np.where(
                far_HW[..., None] < disc.radius, np.array(disc.colour) * shade, picture
            )
        made.append(_to_bytes(picture))
    return np.stack(made)


def depth_of_discs(frames: int, of: Sequence[Disc] = DISCS) -> Frames:
    """The same scene as a depth map: grey, near is white, far is black."""
    down_HW, right_HW = np.mgrid[:HEIGHT, :WIDTH]
    made = []
    for t in range(frames):
        picture = 90.0 * down_HW / HEIGHT
        for disc in sorted(of, key=lambda disc: disc.depth):
            inside = _distance(disc, t, right_HW, down_HW) < disc.radius
            picture = np.where(inside, 255 * disc.depth, picture)
        made.append(_to_bytes(np.repeat(picture[..., None], 3, axis=-1)))
    return np.stack(made)


def outlines_of_discs(frames: int, of: Sequence[Disc] = DISCS) -> Frames:
    """The same scene as edges: thin white lines on black."""
    depth_THW = depth_of_discs(frames, of)[..., 0].astype(np.float64)
    rises = np.abs(np.diff(depth_THW, axis=1, append=depth_THW[:, -1:]))
    turns = np.abs(np.diff(depth_THW, axis=2, append=depth_THW[..., -1:]))
    lines_THW = np.where(np.maximum(rises, turns) > 8, 255, 0)
    return np.repeat(lines_THW[..., None], 3, axis=-1).astype(np.uint8)


# The colours and limbs of the usual drawing of 18 body points, for one person in front view.
BODY: dict[str, tuple[float, float]] = {
    "nose": (0, -0.80), "neck": (0, -0.60),
    "right shoulder": (-0.17, -0.60), "right elbow": (-0.26, -0.36), "right wrist": (-0.30, -0.12),
    "left shoulder": (0.17, -0.60), "left elbow": (0.26, -0.36), "left wrist": (0.30, -0.12),
    "right hip": (-0.10, -0.08), "right knee": (-0.12, 0.32), "right ankle": (-0.13, 0.72),
    "left hip": (0.10, -0.08), "left knee": (0.12, 0.32), "left ankle": (0.13, 0.72),
}  # fmt: skip
LIMBS: tuple[tuple[str, str, Colour], ...] = (
    ("neck", "right shoulder", (255, 0, 0)),
    ("neck", "left shoulder", (255, 85, 0)),
    ("right shoulder", "right elbow", (255, 170, 0)),
    ("right elbow", "right wrist", (255, 255, 0)),
    ("left shoulder", "left elbow", (170, 255, 0)),
    ("left elbow", "left wrist", (85, 255, 0)),
    ("neck", "right hip", (0, 255, 0)),
    ("right hip", "right knee", (0, 255, 85)),
    ("right knee", "right ankle", (0, 255, 170)),
    ("neck", "left hip", (0, 255, 255)),
    ("left hip", "left knee", (0, 170, 255)),
    ("left knee", "left ankle", (0, 85, 255)),
    ("neck", "nose", (0, 0, 255)),
)


def corridor(width: int = WIDTH, height: int = HEIGHT) -> tuple[Frames, Picture]:
    """A corridor 3 x 2.5 m wide with doors, 8 m deep (H, W, 3), and its metres of depth (H, W)."""
    down_HW, right_HW = np.mgrid[:height, :width] + 0.5
    right_HW, down_HW = (right_HW - width / 2) / width / 0.9, (down_HW - height / 2) / width / 0.9
    to_floor_HW = np.where(down_HW > 0, 1.3, -1.2) / down_HW
    to_wall_HW = 1.5 / abs(right_HW)
    depth_HW = np.minimum(np.minimum(to_floor_HW, to_wall_HW), 8.0)
    x_HW, y_HW = right_HW * depth_HW, down_HW * depth_HW
    boards_HW = (np.floor(4 * x_HW) + np.floor(depth_HW)) % 2
    doors_HW = (np.floor(depth_HW) % 2 == 0) & (abs(depth_HW % 2 - 1) < 0.4) & (y_HW > -0.6)
    flat_HW, wall_HW = to_floor_HW == depth_HW, to_wall_HW == depth_HW
    picture = np.full((height, width, 3), (150.0, 140, 120))
    picture[flat_HW & (down_HW < 0)] = (230, 230, 225)
    picture[flat_HW & (down_HW > 0)] = (120, 80, 50)
    picture[wall_HW] = (205, 200, 185)
    picture += (15 * boards_HW * (flat_HW & (down_HW > 0)) - 65 * (doors_HW & wall_HW))[..., None]
    shade_HW = 1.15 - 0.09 * depth_HW
    return _to_bytes(picture * shade_HW[..., None]), depth_HW


def skeleton(frames: int, right: float = 2.0) -> Frames:
    """A person as coloured lines on black, waving the arms and moving `right` pixels a frame."""
    down_HW, right_HW = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    made = []
    for t in range(frames):
        points = _pose(t, right)
        picture = np.zeros((HEIGHT, WIDTH, 3))
        for start, end, colour in LIMBS:
            near = _to_segment(right_HW, down_HW, points[start], points[end]) < 2.5
            picture[near] = 0.6 * np.array(colour)
        made.append(_to_bytes(picture))
    return np.stack(made)


def softened(frames_THWC: Frames, factor: int = 4) -> Frames:
    """The clip as if it had been kept at 1/`factor` of its size: the fine detail is gone."""
    frames, height, width, _ = frames_THWC.shape
    small = frames_THWC.reshape(frames, height // factor, factor, width // factor, factor, 3)
    means = small.mean(axis=(2, 4))
    down_HW, right_HW = np.mgrid[:height, :width].astype(np.float64)
    across, below = (right_HW + 0.5) / factor - 0.5, (down_HW + 0.5) / factor - 0.5
    return np.stack([_sample(mean, across, below) for mean in means])


def resized(frames_THWC: Frames, width: int, height: int) -> Frames:
    """Each frame at another size, by means over areas where the sides divide evenly."""
    frames, rows, columns, _ = frames_THWC.shape
    parts = frames_THWC.reshape(frames, height, rows // height, width, columns // width, 3)
    return np.rint(parts.mean(axis=(2, 4))).astype(np.uint8)


def _pose(t: int, right: float) -> dict[str, tuple[float, float]]:
    wave = 0.25 * np.sin(t / 4)
    lifts = {"wrist": 2 * wave, "elbow": wave}
    scale, x, y = HEIGHT * 0.55, WIDTH * 0.2 + right * t, HEIGHT * 0.54
    return {
        name: (x + scale * across, y + scale * (below - lifts.get(name.split()[-1], 0)))
        for name, (across, below) in BODY.items()
    }


def _distance(disc: Disc, t: int, right_HW: Picture, down_HW: Picture) -> Picture:
    return np.hypot(right_HW - disc.x - disc.right * t, down_HW - disc.y - disc.down * t)


def _to_segment(
    x_HW: Picture, y_HW: Picture, start: tuple[float, float], end: tuple[float, float]
) -> Picture:
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    share = ((x_HW - start[0]) * along_x + (y_HW - start[1]) * along_y) / (along_x**2 + along_y**2)
    share = np.clip(share, 0, 1)
    return np.hypot(x_HW - start[0] - share * along_x, y_HW - start[1] - share * along_y)


def _crop(picture: Picture, left: float, top: float, width: int, height: int) -> Frames:
    down_HW, right_HW = np.mgrid[:height, :width].astype(np.float64)
    return _sample(picture, right_HW + left, down_HW + top)


def _sample(picture: Picture, x_HW: Picture, y_HW: Picture) -> Frames:
    """The picture at these places, bilinear; outside, its rim repeats."""
    height, width, _ = picture.shape
    x_HW, y_HW = np.clip(x_HW, 0, width - 1), np.clip(y_HW, 0, height - 1)
    left, top = x_HW.astype(int), y_HW.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    part_x, part_y = (x_HW - left)[..., None], (y_HW - top)[..., None]
    upper = picture[top, left] * (1 - part_x) + picture[top, right] * part_x
    lower = picture[bottom, left] * (1 - part_x) + picture[bottom, right] * part_x
    return _to_bytes(upper * (1 - part_y) + lower * part_y)


def _to_bytes(picture: Picture) -> Frames:
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
