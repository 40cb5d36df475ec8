"""Warnings that a submit can tell before anything of the source is known.

They are the ones that any source and any checkpoint would cause, so plans for unlike sources are
made and what all of them warn of is told. The rest comes with the status, once a worker knows it.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle, product

from rotoscope.generation.plan import MAX_DOWNSCALE, Choices, InContext, make_plan
from rotoscope.generation.weights import CHECKPOINTS
from rotoscope.media.facts import Size, VideoInfo
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment

_UNLIKE_SOURCES = (
    VideoInfo(size=Size(320, 240), fps=Fraction(25), duration_s=60, codec="h264"),
    VideoInfo(size=Size(1080, 1920), fps=Fraction(120), duration_s=0.1, codec="vp9"),
    VideoInfo(size=Size(3000, 400), fps=Fraction(1, 2), duration_s=3600, codec="hevc"),
)
_UNLIKE_CHOICES = (
    Choices(),
    Choices(plain_video="sdedit", detailer="three-step"),
)
_UNLIKE = tuple(
    zip(cycle(_UNLIKE_SOURCES), CHECKPOINTS.values(), cycle(_UNLIKE_CHOICES), strict=False)
)


def foreseen_warnings(asked: VideoToVideoInput) -> list[Adjustment]:
    """What will be adjusted whatever the source is, in the order of the plan's warnings."""
    first, *others = _plans(asked)
    return [warning for warning in first if all(warning in other for other in others)]


def _plans(asked: VideoToVideoInput) -> Iterator[tuple[Adjustment, ...]]:
    # What a LoRA's file asks for is not known yet either.
    wants = (None, InContext(1, MAX_DOWNSCALE)) if asked.loras else (None,)
    for (source, checkpoint, choices), want in product(_UNLIKE, wants):
        yield make_plan(
            asked, source, checkpoint, max_area=None, choices=choices, in_context=want
        ).warnings
