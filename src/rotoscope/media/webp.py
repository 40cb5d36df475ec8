"""Animated WebP, which FFmpeg does not decode: its chunks read here, its pictures by Pillow.

Imported by the child that opens untrusted video, before it confines itself.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image, ImageSequence, WebPImagePlugin

from rotoscope.media.facts import UnreadableError
from rotoscope.media.rgb import check_size

__all__ = ["WebpVideo", "open_webp"]

TICK = Fraction(1, 1000)
# Browsers show pictures that want to be shorter than this for a tenth of a second.
SHORTEST_MS, INSTEAD_MS = 10, 100
HEADER_BYTES = 30
FIRST_CHUNK_AT = 12
ANIMATED = 0x02
MOST_PICTURES = 100_000

# What Pillow would load when it first opens an image, while files can still be opened.
assert WebPImagePlugin.SUPPORTED  # noqa: S101
Image.preinit()


@dataclass(frozen=True, slots=True)
class WebpVideo:
    """An animated WebP on file descriptor `fd`; `lengths_ms` has one entry per picture."""

    fd: int
    lengths_ms: tuple[int, ...]
    codec: str = "webp"
    aspect: Fraction | None = None
    tick: Fraction | None = None

    @property
    def claimed_rate(self) -> Fraction:
        return (len(self.lengths_ms) / (sum(self.lengths_ms) * TICK)).limit_denominator(1001)

    def measure(self) -> tuple[int, float]:
        """Pictures, and seconds from the first to the last one's end."""
        return len(self.lengths_ms), float(sum(self.lengths_ms) * TICK)

    def frames(self) -> Iterator[VideoFrame]:
        """Whole pictures in RGBA with their times, as far as the file can be read."""
        start_ms = 0
        for length_ms, rgba_HWC in zip(self.lengths_ms, pictures(self.fd), strict=False):
            frame = VideoFrame.from_ndarray(rgba_HWC, format="rgba")
            frame.pts, frame.duration, frame.time_base = start_ms, length_ms, TICK
            yield frame
            start_ms += length_ms


def open_webp(fd: int) -> WebpVideo:
    """Raises UnreadableError for a still or damaged one, and one of too many pixels."""
    header = os.pread(fd, HEADER_BYTES, 0)
    if header[FIRST_CHUNK_AT:16] != b"VP8X" or not header[20] & ANIMATED:
        raise UnreadableError("unsupported", "it is a still image")
    width, height = (1 + int.from_bytes(header[at : at + 3], "little") for at in (24, 27))
    check_size(width, height)
    lengths_ms = tuple(lengths(fd))
    if not lengths_ms:
        raise UnreadableError("too_short", "it has no frame that can be shown")
    return WebpVideo(fd, lengths_ms)


def lengths(fd: int) -> Iterator[int]:
    """Milliseconds of each picture, from the ANMF chunks."""
    at = FIRST_CHUNK_AT
    for _ in range(MOST_PICTURES):
        chunk = os.pread(fd, 8 + 16, at)
        if len(chunk) < 8:  # noqa: PLR2004 - a chunk's name and size
            return
        if chunk[:4] == b"ANMF":
            length_ms = int.from_bytes(chunk[20:23], "little")
            yield length_ms if length_ms > SHORTEST_MS else INSTEAD_MS
        size = int.from_bytes(chunk[4:8], "little")
        at += 8 + size + size % 2


def pictures(fd: int) -> Iterator[np.ndarray[Any, Any]]:
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb", closefd=False) as file, suppress(OSError, SyntaxError, ValueError):
        image = Image.open(file, formats=("WEBP",))
        for picture in ImageSequence.Iterator(image):
            yield np.asarray(picture.convert("RGBA"))
