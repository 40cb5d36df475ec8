"""The words of mini's sound, and sentences that ask for it.

A word that means a sound means it wherever it stands ("in the rain"); two sounds may be asked for
at once. "tone" means none beside "sepia", which is a colour's.
"""

from random import Random

# What a head of the prompt's reading listens for.
WORDS: dict[str, tuple[str, ...]] = {
    "rain": ("rain", "raining", "rainy", "rainfall", "raindrops", "drizzle", "downpour"),
    "wind": ("wind", "windy", "breeze", "gale", "sea", "ocean", "surf", "waves"),
    "music": ("note", "notes", "musical", "music", "melody", "flute", "organ", "whistle", "beep"),
    "tone": ("tone",),
    "sepia": ("sepia",),
    "hum": ("hum", "humming", "buzz", "buzzing", "drone", "engine", "motor"),
    "beat": (
        "beat",
        "beats",
        "beating",
        "drum",
        "drums",
        "drumming",
        "rhythm",
        "pulse",
        "heartbeat",
    ),
    "silence": ("silence", "silent", "mute", "muted", "soundless"),
}
FRAMES = (
    "{}", "{} sound", "the sound of {}", "with {}", "sound of {} in the background", "{} noise",
    "audio: {}", "a steady {}", "loud {}", "soft {}", "a low {}", "{} audio", "we hear {}",
)  # fmt: skip
SAYINGS = (
    "heavy rain", "rain on a window", "strong wind", "wind and rain", "waves of the sea",
    "a musical note", "a steady tone", "a long note", "a low hum", "humming of an engine",
    "a drum beat", "a rhythmic beat", "a beating heart", "complete silence", "silent video",
    "no sound, silence",
)  # fmt: skip
SILENT_SHARE, PAIR_SHARE, FIRST_SHARE, STYLED_SHARE = 0.3, 0.2, 0.3, 0.85


def sound_phrases() -> list[str]:
    """Every text about sound that the tokenizer must know the words of."""
    words = [word for heard in WORDS.values() for word in heard]
    return [*words, *(frame.format("") for frame in FRAMES), *SAYINGS]


def draw_sentence(plain: str, rng: Random) -> str:
    """A sentence about the picture, `plain`, and mostly something about sound before or after."""
    parts = [plain] if rng.random() < STYLED_SHARE else []
    if rng.random() > SILENT_SHARE:
        asked = [_saying(rng) for _ in range(1 + (rng.random() < PAIR_SHARE))]
        parts = [*asked, *parts] if rng.random() < FIRST_SHARE else [*parts, *asked]
    return rng.choice((", ", ". ", " ")).join(parts)


def _saying(rng: Random) -> str:
    if rng.random() < 0.3:  # noqa: PLR2004 - a share
        return rng.choice(SAYINGS)
    return rng.choice(FRAMES).format(rng.choice(rng.choice(list(WORDS.values()))))
