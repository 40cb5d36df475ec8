"""What the contract offers and this version cannot do yet: refused by field, never ignored.

A row goes when its feature comes.
"""

from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import FieldError

# Field, the values that work, and what to do meanwhile.
LIMITS: tuple[tuple[str, frozenset[object], str], ...] = (
    (
        "video_output_type",
        frozenset({"X264 (.mp4)"}),
        'This version writes "X264 (.mp4)" only.',
    ),
)


def unsupported(asked: VideoToVideoInput) -> list[FieldError]:
    """One entry per field that asks for what this version cannot do."""
    return [
        FieldError(loc=["body", name], msg=advice, type="unsupported", input=getattr(asked, name))
        for name, works, advice in LIMITS
        if getattr(asked, name) not in works
    ]
