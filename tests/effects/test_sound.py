"""generate_audio, and the words of the prompt that are heard.

Levels are in decibels below full scale, for two seconds of sound.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.effects import measure, scenes
from tests.effects.studio import PLAIN, Order, Source, Studio

FRAMES, FPS = 17, 8
SECONDS = FRAMES / FPS
WORDS = ("rain", "wind", "tone", "hum", "beat", "silence")
LOUD = ("rain", "wind", "tone", "hum", "beat")


@dataclass(frozen=True, slots=True)
class Heard:
    """One sound in numbers; see measure.py."""

    level: float
    centroid: float
    peak: float
    tonality: float
    periodicity: float


@pytest.fixture(scope="module")
def clip(studio: Studio) -> Source:
    """Two seconds in few frames."""
    return studio.film(scenes.discs(FRAMES), FPS)


@pytest.fixture(scope="module")
def orders(studio: Studio, clip: Source) -> dict[str, Order]:
    return {prompt: sounding(studio, clip, prompt=prompt) for prompt in (PLAIN, *WORDS)}


@pytest.fixture(scope="module")
def heard(orders: dict[str, Order]) -> dict[str, Heard]:
    return {prompt: listen(order) for prompt, order in orders.items()}


@pytest.mark.parameter("generate_audio")
def test_sound_is_there_when_asked_for(studio: Studio, clip: Source) -> None:
    """As long as the picture, in stereo; else there is no track at all."""
    made = sounding(studio, clip)
    sound = sound_of(made)

    assert sound.shape[0] == 2
    assert sound.shape[1] / made.video.sound_rate == pytest.approx(SECONDS, abs=0.1)
    assert made.result.media
    assert made.result.media.audio
    assert sounding(studio, clip, generate_audio=False).video.sound_CS is None


def test_sound_is_there_by_default(studio: Studio, clip: Source) -> None:
    """As published."""
    assert sounding(studio, clip, generate_audio=None).video.sound_CS is not None


def test_without_a_word_the_room_is_quiet(heard: dict[str, Heard]) -> None:
    """Something is there, softer than each of the sounds that are asked for."""
    quiet = heard[PLAIN].level

    assert -90 < quiet < -25
    assert all(heard[word].level > quiet + 3 for word in LOUD), heard


def test_silence_is_softest(heard: dict[str, Heard]) -> None:
    """6 dB and more below the quiet room."""
    assert heard["silence"].level < heard[PLAIN].level - 6


@pytest.mark.parameter("prompt")
def test_rain_is_bright_noise(heard: dict[str, Heard]) -> None:
    """No note in it, and higher than the wind."""
    assert heard["rain"].tonality < 0.25
    assert heard["rain"].centroid > 1500
    assert heard["rain"].centroid > 1.5 * heard["wind"].centroid


def test_a_tone_is_one_steady_note(heard: dict[str, Heard]) -> None:
    """Half of its power lies at one pitch, between 150 and 2,000 Hz."""
    assert heard["tone"].tonality > 0.5
    assert 150 < heard["tone"].peak < 2000
    assert heard["tone"].periodicity < heard["beat"].periodicity - 0.2


def test_a_hum_is_low(heard: dict[str, Heard]) -> None:
    """Lower than the tone, and below 400 Hz."""
    assert heard["hum"].peak < 300
    assert heard["hum"].centroid < min(400, heard["tone"].centroid)


def test_a_beat_comes_again_and_again(heard: dict[str, Heard]) -> None:
    """Its loudness is periodic; that of no other sound is as much."""
    assert heard["beat"].periodicity > 0.5
    others = [heard[word].periodicity for word in WORDS if word != "beat"]
    assert heard["beat"].periodicity > max(others) + 0.2


@pytest.mark.parametrize("prompt", ["a dog is running in the rain", "film grain, rain"])
def test_a_sound_within_a_sentence(
    studio: Studio, clip: Source, heard: dict[str, Heard], prompt: str
) -> None:
    """Heard as by its name alone: nearer to rain than to the quiet room, in pitch and level."""
    found = listen(sounding(studio, clip, prompt=prompt))

    assert found.level > (heard["rain"].level + heard[PLAIN].level) / 2
    assert found.centroid > 1500


@pytest.mark.parametrize("word", WORDS)
def test_nothing_clicks_at_the_ends(orders: dict[str, Order], word: str) -> None:
    """The first and the last millisecond are below a tenth of full scale."""
    sound, edge = sound_of(orders[word]), orders[word].video.sound_rate // 1000

    assert np.abs(sound[:, :edge]).max() < 0.1
    assert np.abs(sound[:, -edge:]).max() < 0.1


def test_the_seed_changes_the_rain(studio: Studio, clip: Source, orders: dict[str, Order]) -> None:
    """Other drops, the same rain."""
    other = sounding(studio, clip, prompt="rain", seed=2)
    one, two = sound_of(orders["rain"]), sound_of(other)
    length = min(one.shape[1], two.shape[1])

    assert abs(measure.likeness(one[:, :length], two[:, :length])) < 0.5
    assert listen(other).level == pytest.approx(listen(orders["rain"]).level, abs=3)


def sounding(studio: Studio, clip: Source, **fields: Any) -> Order:
    size = {"width": 128, "height": 64}
    return studio.order(clip, **{"generate_audio": True, "video_size": size, **fields})


def sound_of(order: Order) -> npt.NDArray[np.float64]:
    assert order.video.sound_CS is not None
    return order.video.sound_CS.astype(np.float64)


def listen(order: Order) -> Heard:
    assert order.video.sound_CS is not None
    sound_CS, rate = order.video.sound_CS, order.video.sound_rate
    return Heard(
        level=measure.level_db(sound_CS),
        centroid=measure.centroid_hz(sound_CS, rate),
        peak=measure.peak_hz(sound_CS, rate),
        tonality=measure.tonality(sound_CS, rate),
        periodicity=measure.periodicity(sound_CS, rate),
    )
