"""Rendered scenes with known depth: a room, spheres and boxes, light, a moving camera.

Rays are cast through every pixel; the nearest of floor, wall and bodies gives colour and depth.
Units are metres, x right, y up, z away from the camera's start; colours are RGB from 0 to 1.

    T  frames    H, W  pixels    N  rays    D  the three directions
"""

from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from training.clips import Shape
from training.data import Frames

Array = npt.NDArray[np.float32]
Vector = tuple[float, float, float]

FIELD = 0.62
EYE_HEIGHT, WALL = 1.5, 9.0
AMBIENT = 0.35
FAR = 1e6
GAMMA = 2.2
# One brightness for a distance, the same in all frames: white at NEAREST, black at the wall.
NEAREST = 1.0
PALETTE = (
    (0.80, 0.22, 0.12),
    (0.85, 0.55, 0.10),
    (0.15, 0.45, 0.75),
    (0.20, 0.55, 0.25),
    (0.75, 0.70, 0.60),
)
FLOOR, BACK = (0.45, 0.33, 0.22), (0.42, 0.52, 0.62)


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and the control video that describes it, T x H x W x 3 each."""

    control: Frames
    picture: Frames


@dataclass(frozen=True, slots=True)
class Body:
    """A sphere of radius `size`, or a box with edges of twice that; it moves `drift` a frame."""

    round: bool
    centre: Vector
    size: float
    colour: Vector
    drift: Vector

    def at(self, frame: int) -> Array:
        return _vector(self.centre) + frame * _vector(self.drift)


@dataclass(slots=True)
class Hits:
    """What each ray has met so far: how far away, with which normal and which colour."""

    distance_N: Array
    normal_ND: Array
    colour_ND: Array

    def keep_nearer(self, distance_N: Array, normal_ND: Array, colour_ND: Array) -> None:
        nearer = distance_N < self.distance_N
        self.distance_N[nearer] = distance_N[nearer]
        self.normal_ND[nearer] = normal_ND[nearer]
        self.colour_ND[nearer] = colour_ND[nearer]


def room(shape: Shape, rng: Random) -> Pair:
    """A random room with a random move of camera and bodies, and its depth: near is white."""
    bodies = [_body(rng) for _ in range(rng.randint(2, 5))]
    camera, move = _vector((rng.uniform(-1, 1), EYE_HEIGHT, 0)), _push(rng, 0.04)
    light = _vector((rng.uniform(-1, 1), rng.uniform(0.7, 1.4), -0.8))
    pictures, depths = [], []
    for frame in range(shape.frames):
        rays_ND = _rays(shape.height, shape.width)
        hits = _cast(camera + frame * move, rays_ND, bodies, frame)
        pictures.append(_shade(hits, light / np.linalg.norm(light), shape))
        depths.append(_depth(hits.distance_N * rays_ND[:, 2], shape))
    return Pair(np.stack(depths), np.stack(pictures))


def _body(rng: Random) -> Body:
    size = rng.uniform(0.3, 0.8)
    centre = (rng.uniform(-2.2, 2.2), size, rng.uniform(3, 7.5))
    return Body(rng.random() < 0.5, centre, size, rng.choice(PALETTE), _push(rng, 0.03))  # noqa: PLR2004 - a fair coin


def _push(rng: Random, most: float) -> Vector | Array:
    return _vector((rng.uniform(-most, most), 0, rng.uniform(-most, most)))


def _vector(parts: Vector | Array) -> Array:
    return np.asarray(parts, np.float32)


def _rays(height: int, width: int) -> Array:
    """Unit directions of the pixels' rays, row by row."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scale = 2 * FIELD / width
    across, up = (x + 0.5 - width / 2) * scale, (height / 2 - y - 0.5) * scale - 0.12
    rays = np.stack([across, up, np.ones_like(up)], -1).reshape(-1, 3)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True), np.float32)


def _cast(eye: Array, rays_ND: Array, bodies: list[Body], frame: int) -> Hits:
    count = len(rays_ND)
    hits = Hits(
        np.full(count, FAR, np.float32),
        np.zeros((count, 3), np.float32),
        np.zeros((count, 3), np.float32),
    )
    _meet_plane(hits, eye, rays_ND, 1, 0.0, FLOOR)
    _meet_plane(hits, eye, rays_ND, 2, WALL, BACK)
    for body in bodies:
        meet = _meet_sphere if body.round else _meet_box
        meet(hits, eye - body.at(frame), rays_ND, body)
    return hits


def _meet_plane(  # noqa: PLR0913, PLR0917 - a plane is an axis and a place on it
    hits: Hits, eye: Array, rays_ND: Array, axis: int, place: float, colour: Vector
) -> None:
    with np.errstate(divide="ignore"):
        distance = (place - eye[axis]) / rays_ND[:, axis]
    distance = np.where(distance > 0, distance, FAR).astype(np.float32)
    points = eye + np.minimum(distance, 99)[:, None] * rays_ND
    others = [one for one in range(3) if one != axis]
    tiles = (np.floor(points[:, others] / 0.9).sum(1) % 2)[:, None]
    normal = np.zeros(3, np.float32)
    normal[axis] = 1 if axis == 1 else -1
    colours = (_vector(colour) * (0.85 + 0.3 * tiles)).astype(np.float32)
    hits.keep_nearer(distance, np.broadcast_to(normal, rays_ND.shape), colours)


def _meet_sphere(hits: Hits, offset: Array, rays_ND: Array, body: Body) -> None:
    """`offset`: from the body's centre to the eye."""
    along = rays_ND @ offset
    inside = along**2 - (offset @ offset - body.size**2)
    distance = np.where(inside > 0, -along - np.sqrt(np.maximum(inside, 0)), FAR)
    distance = np.where(distance > 0, distance, FAR).astype(np.float32)
    normals = (offset + distance[:, None] * rays_ND) / body.size
    hits.keep_nearer(distance, normals, np.broadcast_to(_vector(body.colour), rays_ND.shape))


def _meet_box(hits: Hits, offset: Array, rays_ND: Array, body: Body) -> None:
    with np.errstate(divide="ignore"):
        sides = np.stack([(-body.size - offset) / rays_ND, (body.size - offset) / rays_ND])
    near_ND, far_ND = sides.min(0), sides.max(0)
    enters, leaves = near_ND.max(1), far_ND.min(1)
    distance = np.where((enters < leaves) & (enters > 0), enters, FAR).astype(np.float32)
    axis = near_ND.argmax(1)
    normals = np.zeros_like(rays_ND)
    rows = np.arange(len(rays_ND))
    normals[rows, axis] = -np.sign(rays_ND[rows, axis])
    hits.keep_nearer(distance, normals, np.broadcast_to(_vector(body.colour), rays_ND.shape))


def _shade(hits: Hits, light_D: Array, shape: Shape) -> Frames:
    lit_N = AMBIENT + (1 - AMBIENT) * np.maximum(hits.normal_ND @ light_D, 0)
    colours = np.clip(hits.colour_ND * lit_N[:, None] * 1.6, 0, 1) ** (1 / GAMMA)
    return _pixels(colours, shape)


def _depth(distance_N: Array, shape: Shape) -> Frames:
    """Grey that falls with the logarithm of the distance."""
    nearness = np.log(WALL * 1.1 / np.maximum(distance_N, NEAREST)) / np.log(WALL * 1.1 / NEAREST)
    return _pixels(np.repeat(nearness[:, None], 3, axis=1), shape)


def _pixels(colours_N3: npt.NDArray[np.floating], shape: Shape) -> Frames:
    pixels = np.clip(np.rint(255 * colours_N3), 0, 255).astype(np.uint8)
    return pixels.reshape(shape.height, shape.width, 3)
