"""prompt: words change the picture as they say, and only as they say.

Results are compared with that of the prompt "original video", so that what a checkpoint's codec
loses is not taken for an effect. Limits are about half of what such a style does in any editor:
enough that a person sees it, and beyond what re-encoding does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import pytest

from rotoscope.schema.input import VideoToVideoInput
from tests.effects import measure
from tests.effects.measure import Frames
from tests.effects.studio import PLAIN, Order, Source, Studio

PUBLISHED = VideoToVideoInput.model_fields["prompt"].examples or [""]
Measure = Callable[[Frames], float]


@dataclass(frozen=True, slots=True)
class Look:
    """What a style must do to one number; `of` sees the result and the plain result."""

    of: Callable[[Frames, Frames], float]
    least: float = -inf
    most: float = inf


def share(of: Measure) -> Callable[[Frames, Frames], float]:
    """The result's number over the plain result's."""
    return lambda made, plain: of(made) / of(plain)


def change(of: Measure) -> Callable[[Frames, Frames], float]:
    """The result's number less the plain result's."""
    return lambda made, plain: of(made) - of(plain)


def blue(frames: Frames) -> float:
    return measure.tint(frames)[0]


def red(frames: Frames) -> float:
    return measure.tint(frames)[1]


def hues(frames: Frames) -> float:
    """How far colours spread about the tint; a toned print has one hue only."""
    return float(measure.chroma(frames).std(axis=(0, 1, 2)).sum())


def drawn(made: Frames, plain: Frames) -> float:
    """Whether there is a dark line where the plain result has an edge: -1 if so."""
    return measure.likeness(measure.luma(made), measure.edges(plain))


LOOKS: dict[str, tuple[Look, ...]] = {
    # What is left looks grey; against the source itself the limit is a quarter, see below.
    "black-and-white": (Look(share(measure.saturation), most=0.3),),
    # Brown: less blue, more red, and only that hue.
    "sepia": (
        Look(change(blue), most=-0.03),
        Look(change(red), least=0.02),
        Look(share(hues), most=0.6),
    ),
    # At least a stop darker would be 0.5 of linear light, which is 0.73 of luma.
    "night": (Look(share(measure.brightness), most=0.73),),
    # A twentieth of full scale between red and blue is a cast that is seen at once.
    "warm": (Look(change(measure.warmth), least=0.05),),
    "cold": (Look(change(measure.warmth), most=-0.05),),
    "high contrast": (Look(share(measure.contrast), least=1.2),),
    # In the calmest parts, of full scale. Mini's is faint, 0.0015: more would drown what is fine.
    "film grain": (Look(change(measure.grain), least=0.001),),
    "blurred": (Look(share(measure.sharpness), most=0.8),),
    "sharp": (Look(share(measure.sharpness), least=1.1),),
    "negative": (Look(measure.correlation, most=-0.6),),
    # Natural pictures have 1.0 to 1.5.
    "pixelated": (Look(share(measure.blockiness), least=1.5),),
    # Dark lines on light paper, with little colour.
    "drawing": (
        Look(drawn, most=-0.3),
        Look(lambda made, _: measure.brightness(made), least=0.6),
        Look(share(measure.saturation), most=0.5),
    ),
}
TONES = ("black-and-white", "sepia", "night", "warm", "cold", "high contrast")
"""Styles that leave every edge where and what it is."""
SENTENCES = {
    "black-and-white": "a man is walking, monochrome footage",
    "sepia": "vintage sepia film, two people in a park",
    "night": "a street at night, cinematic",
    "warm": "a woman is running, warm colors",
    "cold": "people are talking in cold blue light",
    "high contrast": "a dancer, strong contrast",
    "film grain": "35mm film grain, a garden",
    "blurred": "a dreamy blur, a house",
    "sharp": "a tree, crisp details",
    "negative": "a girl, inverted colors",
    "pixelated": "pixel art of a city",
    "drawing": "a pencil sketch of a man",
}
PAIRS = (
    ("black-and-white", "film grain"),
    ("sepia", "blurred"),
    ("cold", "high contrast"),
)
HARMLESS = (
    "a florbix quuxes slowly, zyx",
    "original video, the gryphon mumbles",
)


@pytest.fixture(scope="session")
def orders(studio: Studio, film: Source) -> dict[str, Order]:
    """All prompts of this module, queued together."""
    prompts = [PLAIN, *PUBLISHED, *LOOKS, *SENTENCES.values(), *map(", ".join, PAIRS), *HARMLESS]
    return {prompt: studio.order(film, prompt=prompt) for prompt in prompts}


@pytest.fixture(scope="session")
def plain(orders: dict[str, Order]) -> Frames:
    return orders[PLAIN].frames


@pytest.mark.parameter("prompt")
@pytest.mark.parametrize("style", LOOKS)
def test_a_style_by_its_name(orders: dict[str, Order], plain: Frames, style: str) -> None:
    """The name alone is enough."""
    looks_like(style, orders[style].frames, plain)


@pytest.mark.parametrize("style", LOOKS)
def test_a_style_within_a_sentence(orders: dict[str, Order], plain: Frames, style: str) -> None:
    """In other words, at any place of the sentence, beside a subject."""
    looks_like(style, orders[SENTENCES[style]].frames, plain)


@pytest.mark.parametrize("styles", PAIRS, ids=", ".join)
def test_two_styles_at_once(
    orders: dict[str, Order], plain: Frames, styles: tuple[str, str]
) -> None:
    """Each shows beside the other."""
    for style in styles:
        looks_like(style, orders[", ".join(styles)].frames, plain)


@pytest.mark.parameter("prompt")
@pytest.mark.parametrize("prompt", [*PUBLISHED, "black-and-white"])
def test_grey_against_the_source(orders: dict[str, Order], film: Source, prompt: str) -> None:
    """The published example too, at the published defaults for guidance."""
    made = orders[prompt].frames

    assert measure.saturation(made) < measure.saturation(film.frames_THWC) / 4
    assert measure.edge_correlation(made, film.frames_THWC) > 0.5


@pytest.mark.parametrize("style", TONES)
def test_a_tone_leaves_things_in_place(orders: dict[str, Order], film: Source, style: str) -> None:
    """Edges are the source's; a codec that keeps 1 number in 96 has 0.84 by itself."""
    assert measure.edge_correlation(orders[style].frames, film.frames_THWC) > 0.7


@pytest.mark.parametrize("prompt", HARMLESS)
def test_unknown_words_do_no_harm(
    orders: dict[str, Order], plain: Frames, film: Source, prompt: str
) -> None:
    """The result is as near to the source as without them, to a decibel and a half."""
    made, source = orders[prompt].frames, film.frames_THWC

    assert measure.psnr(made, source) > measure.psnr(plain, source) - 1.5


def looks_like(style: str, made: Frames, plain: Frames) -> None:
    for number, look in enumerate(LOOKS[style]):
        value = look.of(made, plain)
        assert look.least <= value <= look.most, f"{style}, look {number}: {value:.3f}"
