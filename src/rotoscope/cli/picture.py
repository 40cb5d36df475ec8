"""A picture in a terminal: two pixels in each character, the upper one drawn and one behind it."""

from io import BytesIO

from rich.color import Color
from rich.style import Style
from rich.text import Text

UPPER_HALF = "\u2580"
LARGEST = 20_000_000
"""Pixels of a picture that is still opened."""


def half_blocks(content: bytes, columns: int) -> Text | None:
    """The picture in an image file; None where it is no such, or Pillow is not installed.

    Args:
        content: The file.
        columns: How wide it becomes, in characters of about 1 x 2.
    """
    try:
        # Part of the worker's libraries; a machine with the client alone goes without.
        from PIL import Image  # noqa: PLC0415

        with Image.open(BytesIO(content)) as picture:
            if picture.width * picture.height > LARGEST:
                return None
            rows = max(1, round(columns * picture.height / picture.width / 2))
            small = picture.convert("RGB").resize((columns, 2 * rows))
    except (ImportError, OSError):
        return None
    data = small.tobytes()
    pixels = [Color.from_rgb(*data[at : at + 3]) for at in range(0, len(data), 3)]
    drawn = Text(no_wrap=True)
    for row in range(rows):
        upper, lower = (pixels[(2 * row + half) * columns :][:columns] for half in (0, 1))
        for above, below in zip(upper, lower, strict=True):
            drawn.append(UPPER_HALF, Style(color=above, bgcolor=below))
        drawn.append("\n" if row < rows - 1 else "")
    return drawn
