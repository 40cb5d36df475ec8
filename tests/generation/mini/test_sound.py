"""The small checkpoint's codec and vocoder: scores to sound."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from einops import rearrange
from torch import Tensor

from rotoscope.generation.mini.sound import (
    BANDS,
    HOP,
    MEL_BINS,
    RATE,
    SIDES,
    hold_score,
    make_audio_vae,
    make_vocoder,
)

Play = Callable[..., npt.NDArray[np.float32]]
LATENTS = 40
FRAMES = 4 * LATENTS - 3

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def codec() -> torch.nn.Module:
    return make_audio_vae()


@pytest.fixture(scope="module")
def vocoder() -> torch.nn.Module:
    return make_vocoder()


@pytest.fixture
def play(codec: torch.nn.Module, vocoder: torch.nn.Module) -> Play:
    """Sound of levels that hold throughout."""

    def run(levels: Sequence[str], seed: int = 0) -> npt.NDArray[np.float32]:
        mel = codec.decode(score(levels, seed)).sample
        sound: npt.NDArray[np.float32] = vocoder(mel)[0].numpy()
        return sound

    return run


def test_the_codec_gives_back_what_it_was_given(codec: torch.nn.Module) -> None:
    """Four frames and four bins a latent, but for the first frame, which has its own."""
    latents = score(("rain", "tone"))

    mel = codec.decode(latents).sample
    again = codec.encode(mel).latent_dist.mode()

    assert mel.shape == (1, SIDES, FRAMES, MEL_BINS)
    assert torch.allclose(again, latents, atol=1e-4)
    # Sums of numbers near 100, which each processor rounds in its own order.
    torch.testing.assert_close(codec.decode(again).sample, mel, rtol=0, atol=1e-3)


def test_ten_milliseconds_a_frame(vocoder: torch.nn.Module) -> None:
    """At 24 kHz, left and right, within full scale."""
    sound = vocoder(100 + torch.randn(1, SIDES, FRAMES, MEL_BINS))

    assert sound.shape == (1, SIDES, FRAMES * HOP)
    assert HOP == RATE / 100
    assert 0 < sound.abs().max() < 1


def test_no_level_no_sound(play: Play) -> None:
    """However much the free bands move."""
    assert np.abs(play(())).max() < 1e-6


def test_a_tone_has_its_pitch(play: Play) -> None:
    """400 Hz, the same left and right, steady between its ends."""
    sound = play(("tone",))
    spectrum = np.abs(np.fft.rfft(sound[0] * np.hanning(sound.shape[1])))
    loudness = np.sqrt(np.square(sound[0, 2400:-2400]).reshape(-1, 240).mean(axis=1))

    assert spectrum.argmax() * RATE / sound.shape[1] == pytest.approx(400, abs=2)
    assert np.abs(sound[0] - sound[1]).max() < 1e-5
    assert loudness.std() < 0.01 * loudness.mean()


def test_rain_is_brighter_than_wind(play: Play) -> None:
    assert centroid(play(("rain",))) > 2500
    assert centroid(play(("wind",))) < 600


def test_rain_is_noise(play: Play) -> None:
    """Left is not right, one seed not another, and no lag short enough for a pitch repeats it."""
    sound, other = play(("rain",)), play(("rain",), seed=1)
    heard = np.abs(np.fft.rfft(sound[0], 2 * sound.shape[1])) ** 2
    echoes = np.fft.irfft(heard)[: RATE // 30]

    assert abs(np.corrcoef(sound[0], sound[1])[0, 1]) < 0.1
    assert abs(np.corrcoef(sound[0], other[0])[0, 1]) < 0.1
    assert np.abs(echoes[HOP // 2 :]).max() < 0.2 * echoes[0]


def test_a_beat_is_heard_where_its_level_rises(
    codec: torch.nn.Module, vocoder: torch.nn.Module
) -> None:
    """Once, for some 60 ms, not where it falls nor at the ends."""
    latents = score(())
    latents[:, :, 15:25, 4] = 1
    sound = vocoder(codec.decode(latents).sample)[0, 0].numpy()
    loud = np.flatnonzero(np.abs(sound) > 0.05) / RATE

    assert 0.5 < loud.min() < 0.6
    assert loud.max() < 0.7


@pytest.mark.parametrize("level", ["rain", "wind", "tone", "hum", "room"])
def test_ends_are_soft(play: Play, level: str) -> None:
    """The first and the last millisecond."""
    sound = play((level,))

    assert np.abs(sound[:, :24]).max() < 0.05
    assert np.abs(sound[:, -24:]).max() < 0.05


def score(levels: Sequence[str], seed: int = 0) -> Tensor:
    held_BLD = hold_score(levels, torch.Generator().manual_seed(seed), LATENTS)
    return rearrange(held_BLD, "b l (c m) -> b c l m", m=BANDS)


def centroid(sound: npt.NDArray[np.float32]) -> float:
    power = np.abs(np.fft.rfft(sound)).sum(axis=0) ** 2
    return float((power * np.fft.rfftfreq(sound.shape[1], 1 / RATE)).sum() / power.sum())
