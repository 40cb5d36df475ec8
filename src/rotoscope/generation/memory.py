"""Which memory plan a job runs under: how much it needs, and the first plan that it fits into.

    resident    all weights stay on the device
    offloaded   each part's weights are there while it works, and wait in the machine's memory
    fp8         so, and the transformer and the text encoder are stored in 8 bits on the device

Pure arithmetic over the sizes in the checkpoint's files and the plan; no torch. What a step takes
beside the weights is estimated from LTX-2 19B's arithmetic, in numbers of the checkpoint's type:
45 for each channel of a token, mostly the noise levels that diffusers spreads over all tokens, and
41 for each pixel that the codec decodes, five of its largest layers' outputs.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rotoscope.errors import OutOfMemoryError
from rotoscope.generation.plan import FRAME_STEP, MIN_FRAMES, SIDE_STEP, Plan
from rotoscope.generation.weights import GB, PARTS
from rotoscope.media.facts import Size

Mode = Literal["resident", "offloaded", "fp8"]
MODES: tuple[Mode, ...] = ("resident", "offloaded", "fp8")
"""From the fastest to the leanest."""

IN_FP8 = frozenset({"transformer", "text_encoder"})
USED_IN: Mapping[str, tuple[str, ...]] = {
    "text": ("text_encoder", "connectors"),
    "condition": ("vae",),
    "denoise": ("transformer",),
    "upsample": ("latent_upsampler",),
    "decode": ("vae",),
    "sound": ("audio_vae", "vocoder"),
}
"""The parts that work together; with a first frame, the codec is in the passes too."""

NUMBERS_PER_CHANNEL = 45
NUMBERS_PER_PIXEL = 41
# Of each pixel that tiles are put together to: every tile, a row of them, and the picture.
NUMBERS_PER_TILED_PIXEL = 9
TILE, TILE_STEP = 512, 448
"""Pixels of a tile's side, and from one tile to the next; where they overlap they are blended."""
# All layers' states of the prompts, three times: as made, stacked, and flattened.
TEXT_COPIES = 3
USABLE = 0.95
"""Of what is free: allocators leave gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a checkpoint takes, counted from its files."""

    weights: Mapping[str, int]
    """Bytes of each part in the type it runs in."""
    number: int
    """Bytes of a number of that type."""
    channels: int
    """Of a token in the transformer."""
    text_numbers: int
    """Of one prompt, in all layers of the text encoder."""

    @property
    def total(self) -> int:
        return sum(self.weights.values())


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that this worker's weights and jobs can have together."""

    device: int
    host: int | None
    """In the machine's memory; None where the device is the machine, and offloading saves none."""


def read_footprint(folder: Path, *, text_tokens: int, number: int) -> Footprint:
    """The footprint of the checkpoint in `folder`, from headers and configurations alone."""
    transformer = json.loads((folder / "transformer" / "config.json").read_text())
    text = json.loads((folder / "text_encoder" / "config.json").read_text())["text_config"]
    return Footprint(
        weights={
            part: number * _numbers_in(folder / part) for part in PARTS if part != "tokenizer"
        },
        number=number,
        channels=transformer["num_attention_heads"] * transformer["attention_head_dim"],
        text_numbers=text_tokens * text["hidden_size"] * (text["num_hidden_layers"] + 1),
    )


def needed(footprint: Footprint, plan: Plan, mode: Mode, *, apart: bool = False) -> int:
    """Bytes on the device at the worst moment of `plan`.

    `apart`: each guess of a step is computed by itself.
    """
    work = working(footprint, plan, apart=apart)
    if mode == "resident":
        return footprint.total + max(work.values())
    parts = dict(USED_IN)
    if plan.first_frame:
        parts["denoise"] += USED_IN["condition"]
    return max(_parts(footprint, parts[stage], mode) + size for stage, size in work.items())


def working(footprint: Footprint, plan: Plan, *, apart: bool = False) -> dict[str, int]:
    """Bytes that each stage takes beside weights."""
    number, rows = footprint.number, plan.most_rows
    at_once = 1 if apart else rows
    token = number * NUMBERS_PER_CHANNEL * footprint.channels
    seen = plan.reference.frames if plan.reference else 0
    encoded = seen * max((size.area for size in plan.source_sizes), default=0)
    pixel = number * NUMBERS_PER_PIXEL
    return {
        "text": TEXT_COPIES * number * min(rows, 2) * footprint.text_numbers,
        "condition": pixel * encoded,
        "denoise": token * max(min(one.rows, at_once) * plan.tokens(one) for one in plan.passes),
        "upsample": token * plan.tokens(plan.passes[-1]) if plan.multiscale else 0,
        "decode": _decoding(plan, number),
        "sound": 0,
    }


def in_tiles(plan: Plan) -> bool:
    """Whether the picture is decoded in more than one tile."""
    return plan.choices.decode_tiles and max(plan.size.width, plan.size.height) > TILE


def _decoding(plan: Plan, number: int) -> int:
    size, frames = plan.size, number * plan.frames
    if not in_tiles(plan):
        return frames * NUMBERS_PER_PIXEL * size.area
    tile = min(size.width, TILE) * min(size.height, TILE)
    return frames * (NUMBERS_PER_PIXEL * tile + NUMBERS_PER_TILED_PIXEL * size.area)


def possible(asked: Literal["auto"] | Mode, room: Room) -> tuple[Mode, ...]:
    """The plans that may be taken, in order: from what the operator asked for to the leanest."""
    if room.host is None:
        return (MODES[0] if asked == "auto" else asked,)
    return MODES[0 if asked == "auto" else MODES.index(asked) :]


def choose(
    asked: Literal["auto"] | Mode,
    footprint: Footprint,
    plan: Plan,
    room: Room,
    *,
    apart: bool = False,
) -> Mode:
    """The memory plan for one job; with `apart` guesses may be computed one after the other.

    What the operator asked for by name is taken as it is, without an estimate.

    Raises:
        OutOfMemoryError: It fits into none; the text names shapes that would.
    """
    if asked != "auto":
        return asked
    for mode in possible(asked, room):
        if fits(footprint, plan, mode, room, apart=apart):
            return mode
    raise _too_large(footprint, plan, room, apart=apart)


def leaner(mode: Mode, footprint: Footprint, room: Room) -> Mode | None:
    """The plan to try after a job ran out under `mode`; None if nothing leaner is possible."""
    rest = possible(mode, room)[1:]
    return rest[0] if rest and _can_wait(footprint, room) else None


def fits(footprint: Footprint, plan: Plan, mode: Mode, room: Room, *, apart: bool = False) -> bool:
    if mode != "resident" and not _can_wait(footprint, room):
        return False
    return needed(footprint, plan, mode, apart=apart) <= USABLE * room.device


def _can_wait(footprint: Footprint, room: Room) -> bool:
    """Whether all weights find room in the machine's memory."""
    return room.host is not None and footprint.total <= USABLE * room.host


def fitting(footprint: Footprint, plan: Plan, room: Room, *, apart: bool = False) -> list[str]:
    """The largest size at the plan's length, and the greatest length at its size, that fit."""
    modes = possible("auto", room)

    def runs(shape: tuple[Size, int]) -> bool:
        made = reshaped(plan, *shape)
        return any(fits(footprint, made, mode, room, apart=apart) for mode in modes)

    smaller = next(filter(runs, ((size, plan.frames) for size in _smaller(plan))), None)
    shorter = next(filter(runs, ((plan.size, frames) for frames in _shorter(plan))), None)
    return [f"{size} with {frames} frames" for size, frames in filter(None, (smaller, shorter))]


def reshaped(plan: Plan, size: Size, frames: int) -> Plan:
    """The plan at another size and length."""
    half = Size(size.width // 2, size.height // 2)
    passes = tuple(
        replace(one, size=size if one.size == plan.size else half) for one in plan.passes
    )
    made = replace(plan, size=size, frames=frames, passes=passes)
    if plan.reference is None:
        return made
    seen = replace(plan.reference, frames=min(plan.reference.frames, frames))
    return replace(made, reference=seen)


def _smaller(plan: Plan) -> Iterator[Size]:
    """Sizes of about the same aspect, falling; sides as the plan's passes need them."""
    step = SIDE_STEP * (2 if plan.multiscale else 1) * plan.downscale
    longest = max(plan.size.width, plan.size.height)
    for long in range(longest - step, 0, -step):
        sides = (side * long / longest for side in (plan.size.width, plan.size.height))
        yield Size(*(max(round(side / step), 1) * step for side in sides))


def _shorter(plan: Plan) -> Iterator[int]:
    return iter(range(plan.frames - FRAME_STEP, MIN_FRAMES - 1, -FRAME_STEP))


def _too_large(footprint: Footprint, plan: Plan, room: Room, *, apart: bool) -> OutOfMemoryError:
    modes = possible("auto", room)
    least = min(needed(footprint, plan, mode, apart=apart) for mode in modes)
    there = fitting(footprint, plan, room, apart=apart)
    return OutOfMemoryError(
        f"{plan.size} with {plan.frames} frames needs {least / GB:.1f} GB of memory, and the "
        f"worker has {USABLE * room.device / GB:.1f} GB; "
        + (f"{', or '.join(there)}, would fit." if there else "no other shape of it would fit."),
        field="video_size",
    )


def _parts(footprint: Footprint, parts: tuple[str, ...], mode: Mode) -> int:
    """Bytes of `parts` on the device, while they are used."""
    return sum(
        footprint.weights[part] // (footprint.number if mode == "fp8" and part in IN_FP8 else 1)
        for part in parts
    )


def _numbers_in(folder: Path) -> int:
    """How many numbers the safetensors files of a part hold."""
    return sum(
        math.prod(tensor["shape"])
        for file in folder.glob("*.safetensors")
        for name, tensor in _header(file).items()
        if name != "__metadata__"
    )


def _header(file: Path) -> dict[str, dict[str, list[int]]]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, dict[str, list[int]]] = json.loads(stream.read(length))
    return header
