"""Decoded frames to raw RGB of one size: colours right, upright, covered, cut to the centre.

Imported by the child that opens untrusted video (decode_child.py).
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from rotoscope.media.facts import MAX_PIXELS, MAX_SIDE, UnreadableError
from rotoscope.media.wide import is_wide, to_bt709

HD_HEIGHT = 720
RGB = 3
# By its number in ITU-T H.273.
UNSPECIFIED = 2
WITH_PALETTE = "pal8"


@dataclass(frozen=True, slots=True)
class Turn:
    """How a picture is shown: rows and columns swapped first, then mirrored."""

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after (or, the same way, before) the turn."""
        return (height, width) if self.swap else (width, height)

    def apply(self, picture_HWC: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        turned = picture_HWC.swapaxes(0, 1) if self.swap else picture_HWC
        return turned[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


def turn_of(frame: VideoFrame) -> Turn:
    """As its display matrix says: where the picture's x and y axes point, to quarter turns."""
    # PyAV's annotations have its keys where its values are.
    side_data: Any = frame.side_data
    matrices = [data for data in side_data if data.type is SideData.DISPLAYMATRIX]
    if not matrices:
        return Turn()
    matrix = np.frombuffer(bytes(matrices[0]), np.int32)
    x_to_x, x_to_y, _, y_to_x, y_to_y = matrix[:5].tolist()
    if abs(x_to_x) + abs(y_to_y) >= abs(x_to_y) + abs(y_to_x):
        return Turn(swap=False, mirror_x=x_to_x < 0, mirror_y=y_to_y < 0)
    return Turn(swap=True, mirror_x=y_to_x < 0, mirror_y=x_to_y < 0)


def displayed_size(frame: VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """As a player shows it: sample aspect applied, then turned."""
    aspect = aspect if aspect and aspect > 0 else Fraction(1)
    return turn_of(frame).size(max(1, round(frame.width * aspect)), frame.height)


def check_size(width: int, height: int) -> None:
    """Raises UnreadableError for more pixels than are read."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UnreadableError(
            "too_large",
            f"it is {width}x{height}; at most {MAX_SIDE} pixels a side and "
            f"{MAX_PIXELS // 10**6} million pixels are read",
        )


class RgbWriter:
    """Frames of any size and format to `width` x `height` x 3 bytes of sRGB-like RGB."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        # One for all frames: it keeps its tables.
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, aspect: Fraction | None) -> bytes:
        turn = turn_of(frame)
        width, height = self._covering(*displayed_size(frame, aspect))
        rgb_HWC = turn.apply(self._flat(frame, *turn.size(width, height)))
        top, left = (height - self._height) // 2, (width - self._width) // 2
        return rgb_HWC[top : top + self._height, left : left + self._width].tobytes()

    def _covering(self, width: int, height: int) -> tuple[int, int]:
        """The smallest size of that shape which leaves no edge of ours bare."""
        check_size(width, height)
        scale = max(self._width / width, self._height / height)
        covering = max(self._width, round(width * scale)), max(self._height, round(height * scale))
        if covering[0] * covering[1] > MAX_PIXELS:
            reason = f"a picture of {width}x{height} is too narrow for {self._width}x{self._height}"
            raise UnreadableError("too_large", reason)
        return covering

    def _flat(self, frame: VideoFrame, width: int, height: int) -> np.ndarray[Any, Any]:
        """RGB; what is transparent becomes black."""
        if not has_alpha(frame):
            return self._convert(frame, width, height, alpha=False)
        rgba_HWC = self._convert(frame, width, height, alpha=True).astype(np.uint16)
        return ((rgba_HWC[..., :3] * rgba_HWC[..., 3:] + 127) // 255).astype(np.uint8)

    def _convert(
        self, frame: VideoFrame, width: int, height: int, *, alpha: bool
    ) -> np.ndarray[Any, Any]:
        wide = is_wide(frame)
        shrinks = width * height < frame.width * frame.height
        pixels = ("rgba64le" if wide else "rgba") if alpha else ("rgb48le" if wide else "rgb24")
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=pixels,
            src_colorspace=matrix_of(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA if shrinks else Interpolation.LANCZOS,
        )
        levels_HWC = levels_of(converted, channels=RGB + alpha, kind="<u2" if wide else "u1")
        return as_shown(levels_HWC, frame) if wide else levels_HWC


def levels_of(frame: VideoFrame, *, channels: int, kind: str) -> np.ndarray[Any, Any]:
    """The picture where it lies; PyAV's own way copies it."""
    plane, bytes_each = frame.planes[0], np.dtype(kind).itemsize
    steps = (plane.line_size, channels * bytes_each, bytes_each)
    # The array keeps the plane, and with it the picture, alive.
    buffer: Any = plane
    return np.ndarray((frame.height, frame.width, channels), kind, buffer, strides=steps)


def as_shown(levels_HWC: np.ndarray[Any, Any], frame: VideoFrame) -> np.ndarray[Any, Any]:
    """Sixteen bits to eight; alpha, where there is one, as it is."""
    primaries = int(frame.color_primaries)
    rgb_HWC = to_bt709(levels_HWC[..., :3], transfer=int(frame.color_trc), primaries=primaries)
    if levels_HWC.shape[-1] == RGB:
        return rgb_HWC
    return np.dstack([rgb_HWC, (levels_HWC[..., 3] >> 8).astype(np.uint8)])


def has_alpha(frame: VideoFrame) -> bool:
    if frame.format.name == WITH_PALETTE:
        return True
    return any(component.is_alpha for component in frame.format.components)


def matrix_of(frame: VideoFrame) -> Colorspace | None:
    """Untagged HD is BT.709, as browsers take it; the decoder's own guess is BT.601."""
    untagged = frame.colorspace == UNSPECIFIED
    return Colorspace.ITU709 if untagged and frame.height >= HD_HEIGHT else None
