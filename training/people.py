"""Drawn people who walk, wave and turn, and their skeletons.

A figure is a tree of bones in its own plane, seen from some side: what is across shrinks as it
turns. Lengths are in body heights, angles in radians from straight down, positive to the front.

    T  frames    H, W  pixels    K  joints    X  x, y in pixels, and 1 where it is seen
"""

import math
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from rotoscope.media.clip import Size
from rotoscope.preprocess.skeleton import JOINTS, Joints, draw
from training.clips import Shape
from training.data import Frames
from training.scenes import Pair

Point = tuple[float, float]
Colour = tuple[int, int, int]

# Lengths of bones and half widths of what is drawn over them.
TORSO, NECK, UPPER_ARM, LOWER_ARM, THIGH, SHIN = 0.30, 0.11, 0.17, 0.16, 0.25, 0.24
SHOULDERS, HIPS, HEAD = 0.11, 0.065, 0.065
ARM_WIDTH, LEG_WIDTH = 0.036, 0.048
SKINS: tuple[Colour, ...] = ((226, 178, 148), (198, 146, 112), (150, 104, 78))
HAIR: Colour = (52, 38, 30)
SHIRTS: tuple[Colour, ...] = ((60, 98, 160), (86, 110, 150), (48, 120, 150))
TROUSERS: tuple[Colour, ...] = ((58, 54, 62), (70, 66, 60))
WALLS: tuple[Colour, ...] = ((186, 176, 160), (168, 172, 172), (176, 164, 142))
GROUND: Colour = (112, 96, 80)
# Drawn larger, then shrunk: smooth edges.
OVERSAMPLING = 3


@dataclass(frozen=True, slots=True)
class Gait:
    """How a figure moves: `rate` steps a frame, how far legs and arms swing, where it goes."""

    rate: float
    stride: float
    lift: float
    """How far the arms are raised, 0 hanging to 2.6 up."""
    turn: float
    """0 from the front, 1 from the side."""
    spin: float
    start: Point
    pace: float
    height: float


def walkers(shape: Shape, rng: Random) -> Pair:
    """One or two people before a wall, and their skeletons on black."""
    gaits = [_gait(rng) for _ in range(rng.choice((1, 1, 2)))]
    clothes = [(rng.choice(SKINS), rng.choice(SHIRTS), rng.choice(TROUSERS)) for _ in gaits]
    wall, horizon = rng.choice(WALLS), rng.uniform(0.6, 0.78)
    controls, pictures = [], []
    for frame in range(shape.frames):
        people = [_joints(gait, frame, shape) for gait in gaits]
        controls.append(draw(np.stack(people), Size(shape.width, shape.height)))
        pictures.append(_picture(people, clothes, gaits, wall, horizon, shape))
    return Pair(np.stack(controls), np.stack(pictures))


def _gait(rng: Random) -> Gait:
    return Gait(
        rate=rng.uniform(0.15, 0.4),
        stride=rng.uniform(0.1, 0.7),
        lift=rng.choice((0.1, 0.3, rng.uniform(0.5, 2.6))),
        turn=rng.random(),
        spin=rng.uniform(-0.03, 0.03),
        start=(rng.uniform(0.2, 0.8), rng.uniform(0.45, 0.6)),
        pace=rng.uniform(-0.01, 0.01),
        height=rng.uniform(0.55, 1.1),
    )


def _joints(gait: Gait, frame: int, shape: Shape) -> Joints:
    """The joints of one frame, in pixels, K x X."""
    phase = 2 * math.pi * gait.rate * frame / 3
    side = min(1.0, max(0.0, gait.turn + gait.spin * frame))
    across, ahead = math.cos(side * math.pi / 2), max(0.25, math.sin(side * math.pi / 2))
    hips = (gait.start[0] * shape.width / shape.height + gait.pace * frame, gait.start[1])
    neck = (hips[0], hips[1] - TORSO * gait.height)
    places = {"neck": neck} | _head(neck, gait.height, across, ahead)
    for name, sign in (("right", -1), ("left", 1)):
        swing = sign * math.sin(phase)
        arm = -swing * gait.stride * 0.8 + sign * gait.lift * across + gait.lift * ahead
        bend = 0.3 + 0.4 * gait.lift * (0.5 + 0.5 * math.sin(phase))
        shoulder = (neck[0] + sign * SHOULDERS * gait.height * across, neck[1] + 0.01)
        hip = (hips[0] + sign * HIPS * gait.height * across, hips[1])
        leg = swing * gait.stride * ahead
        knee_bend = -max(0.0, -math.cos(phase) * sign) * gait.stride * ahead
        turned = sign if across > ahead else 1
        places |= _bones(
            name, ("shoulder", "elbow", "wrist"), shoulder, arm, bend * turned,
            UPPER_ARM * gait.height, LOWER_ARM * gait.height,
        ) | _bones(
            name, ("hip", "knee", "ankle"), hip, leg, knee_bend,
            THIGH * gait.height, SHIN * gait.height,
        )  # fmt: skip
    found = [(*places[joint], 1.0) for joint in JOINTS]
    scale = [shape.height, shape.height, 1]
    return (np.array(found) * scale).astype(np.float32)


def _head(neck: Point, height: float, across: float, ahead: float) -> dict[str, Point]:
    x, y = neck[0] + 0.03 * height * ahead, neck[1] - NECK * height
    places = {"nose": (x + 0.03 * height * ahead, y)}
    for name, sign in (("right", -1), ("left", 1)):
        places[f"{name} eye"] = (x + sign * 0.022 * height * across, y - 0.02 * height)
        places[f"{name} ear"] = (x + sign * 0.05 * height * across - 0.02 * ahead, y - 0.01)
    return places


def _bones(  # noqa: PLR0913, PLR0917 - two bones: where, which way, how long
    side: str,
    names: tuple[str, str, str],
    root: Point,
    angle: float,
    bend: float,
    first: float,
    second: float,
) -> dict[str, Point]:
    middle = _along(root, angle, first)
    end = _along(middle, angle + bend, second)
    return {f"{side} {name}": place for name, place in zip(names, (root, middle, end), strict=True)}


def _along(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _picture(  # noqa: PLR0913, PLR0917 - all that is seen
    people: list[Joints],
    clothes: list[tuple[Colour, Colour, Colour]],
    gaits: list[Gait],
    wall: Colour,
    horizon: float,
    shape: Shape,
) -> Frames:
    height, width = shape.height * OVERSAMPLING, shape.width * OVERSAMPLING
    rows = np.linspace(1.1, 0.85, height)[:, None, None]
    canvas = np.clip(np.full((height, width, 3), wall) * rows, 0, 255).astype(np.uint8)
    canvas[round(height * horizon) :] = GROUND
    for joints, worn, gait in zip(people, clothes, gaits, strict=True):
        _dress(canvas, joints[:, :2] * OVERSAMPLING, worn, gait.height * height)
    small = cv2.resize(canvas, (shape.width, shape.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _dress(
    canvas: Frames, points: Joints, worn: tuple[Colour, Colour, Colour], tall: float
) -> None:
    skin, shirt, trousers = worn
    at = dict(zip(JOINTS, points, strict=True))
    for side, shade in (("left", 0.82), ("right", 1.0)):
        leg = [at[f"{side} {part}"] for part in ("hip", "knee", "ankle")]
        _limb(canvas, leg, _shaded(trousers, shade), LEG_WIDTH * tall)
        arm = [at[f"{side} {part}"] for part in ("shoulder", "elbow", "wrist")]
        _limb(canvas, arm[:2], _shaded(shirt, shade), ARM_WIDTH * tall)
        _limb(canvas, arm[1:], _shaded(skin, shade), 0.8 * ARM_WIDTH * tall)
    _torso(canvas, at, shirt, tall)
    centre = at["nose"] * 0.5 + (at["right ear"] + at["left ear"]) * 0.25
    _limb(canvas, [at["neck"], centre], skin, 0.03 * tall)
    _ball(canvas, centre - (0, 0.02 * tall), HAIR, HEAD * tall)
    _ball(
        canvas, centre + (at["nose"] - centre) * 0.3 + (0, 0.008 * tall), skin, 0.85 * HEAD * tall
    )


def _torso(canvas: Frames, at: dict[str, Joints], colour: Colour, tall: float) -> None:
    corners = [
        at[f"{name}"] for name in ("right shoulder", "left shoulder", "left hip", "right hip")
    ]
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.rint(corners).astype(np.int32)), colour)
    for first, last in zip(corners, (*corners[1:], corners[0]), strict=True):
        _limb(canvas, [first, last], colour, LEG_WIDTH * tall)


def _limb(canvas: Frames, points: list[Joints], colour: Colour, half: float) -> None:
    """A stroke with round ends through `points`."""
    line = np.rint(points).astype(np.int32)
    cv2.polylines(canvas, [line], isClosed=False, color=colour, thickness=max(1, round(2 * half)))
    for point in points:
        _ball(canvas, point, colour, half)


def _ball(canvas: Frames, centre: Joints, colour: Colour, radius: float) -> None:
    x, y = np.rint(centre).astype(int)
    cv2.circle(canvas, (int(x), int(y)), max(1, round(radius)), colour, -1)


def _shaded(colour: Colour, shade: float) -> Colour:
    red, green, blue = (round(part * shade) for part in colour)
    return red, green, blue
