"""Sizes, and what a probe finds; nothing here needs a media library or numpy."""

from dataclasses import dataclass
from fractions import Fraction

MAX_SIDE = 8192
MAX_PIXELS = 36_000_000


class UnreadableError(Exception):
    """What the child says of a video that it does not read; `kind` is a key of sandbox.ERRORS."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels, as displayed: after rotation and sample aspect."""

    width: int
    height: int

    @property
    def area(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a probe found; nothing here is taken on trust when frames are read."""

    size: Size
    fps: Fraction
    """The average rate where it varies."""
    duration_s: float
    codec: str
