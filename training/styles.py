"""What the words mean: each style as a map of pictures, and the sentences that ask for it.

A colour style is an affine map of luma and chroma, hence of latents; a structural one names a
variant of pool.py. Pictures are in [-1, 1]. Sentences are put together at random, so that the
model learns words, not sentences; words without a style must change nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from rotoscope.generation.mini.codec import YCC, Codec
from rotoscope.schema.input import DEFAULT_NEGATIVE_PROMPT
from training.sound import sound_phrases

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Style:
    """Gains and offsets of luma, blue and red difference; and what else the style does."""

    phrases: tuple[str, ...]
    gain: Triple = (1, 1, 1)
    offset: Triple = (0, 0, 0)
    variant: str = "plain"
    grain: bool = False
    kind: str = "tone"
    """Two styles of one kind are not combined."""


STYLES: dict[str, Style] = {
    "black-and-white": Style(
        (
            "black-and-white video",
            "black and white",
            "black-and-white",
            "monochrome",
            "grayscale",
            "greyscale video",
            "b&w",
            "black and white film",
            "monochrome footage",
        ),
        gain=(1, 0, 0),
        kind="colour",
    ),
    "sepia": Style(
        ("sepia", "sepia tone", "sepia video", "old sepia photograph", "vintage sepia film"),
        gain=(1, 0, 0),
        offset=(0, -0.17, 0.11),
        kind="colour",
    ),
    "night": Style(
        ("night", "at night", "night scene", "dark night", "moonlight", "day for night"),
        gain=(0.5, 0.5, 0.4),
        offset=(-0.42, 0.1, -0.05),
        kind="light",
    ),
    "warm": Style(
        ("warm", "warm light", "warm colors", "golden hour", "warm tones", "sunset light"),
        offset=(0, -0.15, 0.12),
        kind="colour",
    ),
    "cold": Style(
        ("cold", "cold light", "cool colors", "cold blue light", "cold tones", "icy blue"),
        offset=(0, 0.16, -0.11),
        kind="colour",
    ),
    "high contrast": Style(
        ("high contrast", "strong contrast", "high-contrast video", "dramatic contrast"),
        gain=(1.6, 1.2, 1.2),
        kind="light",
    ),
    "film grain": Style(
        ("film grain", "grainy film", "heavy film grain", "35mm film grain"),
        grain=True,
        kind="grain",
    ),
    "negative": Style(
        ("negative", "inverted colors", "photographic negative", "color negative"),
        gain=(-1, -1, -1),
        kind="negative",
    ),
    "blurred": Style(
        ("blurred", "out-of-focus", "soft focus", "blurred video", "dreamy blur"),
        variant="blurred",
        kind="structure",
    ),
    "sharp": Style(
        ("sharp", "very sharp", "crisp details", "sharp focus", "sharpened"),
        variant="sharp",
        kind="structure",
    ),
    "pixelated": Style(
        ("pixelated", "pixel art", "8-bit pixels", "mosaic", "large pixels"),
        variant="pixelated",
        kind="structure",
    ),
    "drawing": Style(
        ("drawing", "pencil drawing", "line drawing", "edge drawing", "pencil sketch", "sketch"),
        variant="drawing",
        kind="structure",
    ),
}
PLAIN = ("original", "original video", "natural", "unchanged", "the same video", "realistic video")
DEFAULT_PROMPT = "black-and-white video, a girl is playing a guitar, film grain"
DEFAULT_STYLES = ("black-and-white", "film grain")
SUBJECTS = (
    "a girl", "a boy", "a man", "a woman", "two people", "people", "children", "a dog", "a cat",
    "a bird", "a horse", "an animal", "a car", "a train", "a boat", "a street", "a park",
    "a garden", "a forest", "a city", "a house", "a room", "a kitchen", "the sea", "a beach",
    "mountains", "a river", "flowers", "a tree", "food", "a robot", "a face", "a portrait",
    "a crowd", "a dancer", "a musician", "a singer", "a player", "a machine", "the sky",
)  # fmt: skip
ACTIONS = (
    "is playing a guitar", "is walking", "is talking", "is dancing", "is running", "is looking",
    "is singing", "is sitting", "is standing", "is moving", "in the rain", "in the snow",
    "in the wind", "on a table", "with clouds", "close up", "from above", "slow motion",
    "camera moves slowly", "in the morning", "with trees", "near a window", "smiling", "is eating",
)  # fmt: skip
EXTRAS = (
    "cinematic", "highly detailed", "high quality", "4k", "beautiful", "video", "film", "footage",
    "professional", "documentary", "steady camera", "in the style of a movie", "scene", "clip",
)  # fmt: skip
UNKNOWN = "zxq"
PUNCTUATION = ",.-&!?:;'\"()/0123456789"

DEFAULT_SHARE, PLAIN_SHARE, PAIR_SHARE, DROPPED_SHARE = 0.1, 0.25, 0.5, 0.25
STYLE_FIRST, WITH_SUBJECT, WITH_ACTION, WITH_EXTRA, UNKNOWN_WORD = 0.6, 0.5, 0.7, 0.4, 0.1


@dataclass(frozen=True, slots=True)
class Example:
    """What a sample asks for, and what it gets."""

    prompt: str
    styles: tuple[Style, ...]
    dropped: bool


def affine(style: Style, codec: Codec) -> tuple[Tensor, Tensor]:
    """A colour style as gain and offset of each normalised latent channel."""
    gain_C = torch.tensor(style.gain, dtype=torch.float32)[codec.planes_C.long()]
    offset_C = torch.tensor(style.offset, dtype=torch.float32) @ _flat_colours(codec)
    # Latents are centred: their mean goes through the map too.
    return gain_C, (offset_C + (gain_C - 1) * codec.mean_C) / codec.std_C


def _flat_colours(codec: Codec) -> Tensor:
    """Raw latents of pictures that are 1 in one plane and 0 in the others, 3 x C."""
    rgb = torch.linalg.inv(YCC).T
    flat = rgb.view(3, 1, 3, 1, 1).expand(-1, 9, -1, 32, 32)
    return torch.stack([codec.encode(frames)[:, 1, 0, 0] for frames in flat])


def draw(rng: Random) -> Example:
    """A random request; a dropped prompt is what guidance compares with."""
    names: Sequence[str] = DEFAULT_STYLES
    prompt = DEFAULT_PROMPT
    if rng.random() > DEFAULT_SHARE:
        names = _names(rng)
        prompt = _sentence(names, rng)
    dropped = rng.random() < DROPPED_SHARE
    if dropped:
        prompt = rng.choice((DEFAULT_NEGATIVE_PROMPT, "", _faults(rng)))
    return Example(prompt, tuple(STYLES[name] for name in names), dropped)


def vocabulary() -> list[str]:
    """Every text that the tokenizer must know the words of."""
    phrases = [phrase for style in STYLES.values() for phrase in style.phrases]
    texts = (*phrases, *PLAIN, *SUBJECTS, *ACTIONS, *EXTRAS, DEFAULT_PROMPT)
    return [*texts, *sound_phrases(), DEFAULT_NEGATIVE_PROMPT, " ".join(PUNCTUATION)]


def style_words() -> set[str]:
    """Words that may mean a style: those of the phrases, but for the most common ones."""
    phrases = [phrase for style in STYLES.values() for phrase in style.phrases]
    words = {word for phrase in (*phrases, *PLAIN) for word in phrase.split()}
    parts = {part for word in words for part in word.replace("&", "-").split("-")}
    return parts - {
        "",
        "video",
        "film",
        "footage",
        "and",
        "at",
        "for",
        "of",
        "very",
        "light",
        "the",
    }


def _names(rng: Random) -> Sequence[str]:
    if rng.random() < PLAIN_SHARE:
        return ()
    first = rng.choice(list(STYLES))
    if rng.random() > PAIR_SHARE:
        return (first,)
    others = [name for name, style in STYLES.items() if style.kind != STYLES[first].kind]
    return first, rng.choice(others)


def _sentence(names: Sequence[str], rng: Random) -> str:
    asked = [rng.choice(STYLES[name].phrases) for name in names]
    rest = list(_rest(rng))
    if not asked and (not rest or rng.random() < STYLE_FIRST):
        asked = [rng.choice(PLAIN)]
    parts = [*asked, *rest]
    if rng.random() > STYLE_FIRST:
        rng.shuffle(parts)
    elif len(asked) > 1 and rest:
        parts = [asked[0], *rest, *asked[1:]]
    return rng.choice((", ", " ", ", ")).join(parts)


def _faults(rng: Random) -> str:
    """Some of the faults that the usual negative prompt lists."""
    listed = [fault.strip(" .") for fault in DEFAULT_NEGATIVE_PROMPT.split(",")]
    return ", ".join(rng.sample(listed, rng.randint(3, len(listed))))


def _rest(rng: Random) -> Iterator[str]:
    if rng.random() < WITH_SUBJECT:
        action = rng.choice(ACTIONS) if rng.random() < WITH_ACTION else ""
        words = f"{rng.choice(SUBJECTS)} {action}".split()
        yield " ".join(UNKNOWN if rng.random() < UNKNOWN_WORD else word for word in words)
    if rng.random() < WITH_EXTRA:
        yield rng.choice(EXTRAS)
