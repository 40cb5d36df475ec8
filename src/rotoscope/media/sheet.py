"""A contact sheet: moments of two clips, one row above the other."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rotoscope.media.clip import Frames

MAX_WIDTH = 1600
GAP = 8
LABEL_HEIGHT = 32
FONT_SIZE = 20


def contact_sheet(
    left: Frames, right: Frames, *, into: Path, columns: int = 4, labels: tuple[str, str]
) -> Path:
    """Save evenly spaced frames of `left` above those of `right` as a PNG at `into`."""
    width = (MAX_WIDTH - GAP) // columns - GAP
    rows = [[_fit(frame, width) for frame in _moments(clip, columns)] for clip in (left, right)]
    heights = [max(frame.height for frame in row) for row in rows]
    total = sum(heights) + 2 * (LABEL_HEIGHT + GAP) + GAP
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, total), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    top = GAP
    for label, row, height in zip(labels, rows, heights, strict=True):
        draw.text((GAP, top), label, fill="black", font=font)
        for column, frame in enumerate(row):
            sheet.paste(frame, (GAP + column * (width + GAP), top + LABEL_HEIGHT))
        top += LABEL_HEIGHT + height + GAP
    sheet.save(into, format="PNG")
    return into


def _moments(clip: Frames, count: int) -> list[Frames]:
    """`count` frames, each in the middle of its share of the clip."""
    return [clip[int((index + 0.5) * len(clip) / count)] for index in range(count)]


def _fit(frame: Frames, width: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame))
    height = max(1, round(image.height * width / image.width))
    return image.resize((width, height), Image.Resampling.LANCZOS)
