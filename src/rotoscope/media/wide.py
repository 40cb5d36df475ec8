"""HDR and BT.2020 as a screen of BT.709 shows them: PQ and HLG by ITU-R BT.2100, BT.2408.

Diffuse white, 203 cd/m2, becomes white, and what is brighter or more colourful is cut off there.
FFmpeg's own conversion spends seconds on tables first, and shifts strong colours.
Imported by the child that opens untrusted video (decode_child.py).
"""

from functools import cache
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

# By their numbers in ITU-T H.273.
BT709 = 1
BT2020 = 9
PQ, HLG = 16, 18

WHITE_NITS = 203
HLG_PEAK_NITS, HLG_GAMMA = 1000, 1.2
SCREEN_GAMMA = 2.4
LEVELS = 1 << 16
ROWS = 32
"""Converted at a time, so that they stay in the processor's cache."""

# Linear light, BT.2020 to BT.709 (ITU-R BT.2087's, the other way).
TO_709 = np.linalg.inv(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
).astype(np.float32)
LUMA_2020 = np.array([[0.2627], [0.6780], [0.0593]], np.float32)

Array = np.ndarray[Any, Any]


def is_wide(frame: VideoFrame) -> bool:
    """Whether light or colours go beyond what an SDR screen shows: PQ, HLG or BT.2020."""
    return frame.color_trc in (PQ, HLG) or frame.color_primaries == BT2020


def to_bt709(signal_HWC: Array, *, transfer: int, primaries: int) -> Array:
    """Red, green and blue of 16 bits in that transfer and those primaries, to 8 bits."""
    shown_HWC = np.empty(signal_HWC.shape, np.uint8)
    for top in range(0, len(signal_HWC), ROWS):
        light_HWC = light_table(transfer)[signal_HWC[top : top + ROWS]]
        if transfer == HLG:
            light_HWC *= (light_HWC @ LUMA_2020) ** (HLG_GAMMA - 1) * (HLG_PEAK_NITS / WHITE_NITS)
        if primaries != BT709:
            light_HWC = light_HWC @ TO_709.T
        # By its root, so that dark levels are told apart.
        root_HWC = np.sqrt(light_HWC.clip(0, 1)) * (LEVELS - 1)
        shown_HWC[top : top + ROWS] = screen_table()[root_HWC.astype(np.uint16)]
    return shown_HWC


@cache
def light_table(transfer: int) -> Array:
    """Light for each level: 1 is white, for HLG the scene's greatest."""
    level = np.arange(LEVELS) / (LEVELS - 1)
    if transfer == PQ:
        root = level ** (32 / 2523)
        nits = 10_000 * ((root - 3424 / 4096).clip(0) / (2413 / 128 - 2392 / 128 * root)) ** (
            16384 / 2610
        )
        return np.asarray(nits / WHITE_NITS, np.float32)
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        high = (np.exp((level - c) / a) + b) / 12
        return np.where(level <= 1 / 2, level**2 / 3, high).astype(np.float32)
    return np.asarray(level**SCREEN_GAMMA, np.float32)


@cache
def screen_table() -> Array:
    """What an SDR screen is sent for the square of each level, in 8 bits."""
    light = (np.arange(LEVELS) / (LEVELS - 1)) ** 2
    return np.round(light ** (1 / SCREEN_GAMMA) * 255).astype(np.uint8)
