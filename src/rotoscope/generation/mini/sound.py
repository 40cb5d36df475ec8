"""mini's sound: a codec and a vocoder written in closed form, from a seed.

A spectrogram of mini is a score, not a measurement: two sides of 16 bands, four equal mel bins a
band. Seven bands say how much of which sound plays, alike on both sides; the rest are free random
numbers, from which the vocoder makes noise. Every value stands OFFSET above 0, so that the 0 that
convolutions see beyond the ends means that nothing plays: there the sound fades.

    B  batch    C  latent channels, left and right    L  latents, 25 a second    M  bands
    D  C * M, as the transformer has them             K  samples of the vocoder's kernel
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2 import LTX2Vocoder
from torch import Tensor, nn

SIDES, BANDS, BAND_BINS = 2, 16, 4
MEL_BINS = BANDS * BAND_BINS
AUDIO_CHANNELS = SIDES * BANDS
LEVELS = ("rain", "wind", "tone", "hum", "beat", "room", "gust")
SOURCES = BANDS - len(LEVELS)
# What a level of the transformer is when a sound plays; its negative where it does not.
ON = 1.0
OFFSET = 100.0
RATE, HOP = 24_000, 240
SEED = 25
# Of the codec: a constant this large keeps its norms constant and its SiLU straight.
CONSTANT, QUIET_LOGVAR = 1e4, -30.0
# Of the vocoder: frames seen at once, units, samples of a kernel and of what a frame repeats.
TAPS, UNITS, KERNEL, BURST, RAMP = 7, 80, 1440, 1200, 240
NOW = TAPS // 2
# No random number is larger than this; a closed gate subtracts it.
CLOSED = 6.0
LEAK = 0.01


@dataclass(frozen=True, slots=True)
class Noise:
    """A noise: its level's bands, free bands, loudness (RMS at full scale 1) and spectrum (Hz)."""

    levels: tuple[str, ...]
    sources: tuple[int, ...]
    loudness: float
    low: float
    high: float
    slope: float
    """Decibels per octave above `low`."""
    threshold: float = 0.0
    """Only random numbers beyond it sound, so that drops are rare."""
    drops: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A steady sound: amplitudes by frequency in Hz. Multiples of 100 keep phase over frames."""

    level: str
    partials: tuple[tuple[int, float], ...]


NOISES = (
    Noise(("rain",), (0, 1, 2, 3, 4, 5), 0.09, 900, 10_000, -1.5),
    Noise(("rain",), (6, 7, 8), 0.07, 1_500, 6_000, 0, threshold=0.8, drops=True),
    Noise(("wind",), (0, 1, 2, 3), 0.09, 120, 700, -6),
    Noise(("wind", "gust"), (4, 5, 6), 0.14, 150, 1_100, -5),
    Noise(("room",), (7, 8), 0.008, 80, 500, -4),
)
NOTES = (
    Note("tone", ((400, 0.2), (800, 0.08), (1200, 0.04), (1600, 0.015))),
    Note("hum", ((100, 0.22), (200, 0.1), (300, 0.05))),
    Note("beat", ((100, 0.45), (200, 0.2), (900, 0.1))),
)


def band(name: str, side: int = 0) -> int:
    """The transformer's channel for a level."""
    return side * BANDS + LEVELS.index(name)


def make_audio_vae() -> AutoencoderKLLTX2Audio:
    """Latents held over four frames and four bins; back, the last frame and the mean bin."""
    vae = AutoencoderKLLTX2Audio(
        base_channels=AUDIO_CHANNELS,
        ch_mult=(1, 1, 1),
        num_res_blocks=0,
        resolution=MEL_BINS,
        latent_channels=SIDES,
        mel_bins=MEL_BINS,
    )
    _zero(vae)
    for half in (vae.encoder, vae.decoder):
        _pairs_in(half.conv_in.conv)
        _pairs_out(half.conv_out.conv)
    vae.encoder.conv_in.conv.bias[:SIDES] = -OFFSET
    vae.encoder.conv_in.conv.bias[SIDES : 2 * SIDES] = OFFSET
    vae.encoder.conv_out.conv.bias[SIDES:] = QUIET_LOGVAR
    vae.decoder.conv_out.conv.bias[:] = OFFSET
    channels = torch.arange(AUDIO_CHANNELS)
    for stage in (0, 1):
        # Time is padded by two rows before, so the last tap is a frame's own.
        vae.encoder.down[stage].downsample.conv.weight[channels, channels, 2, :2] = 0.5
    for stage in (1, 2):
        vae.decoder.up[stage].upsample.conv.conv.weight[channels, channels, 2, 1] = 1
    return vae


def make_vocoder() -> LTX2Vocoder:
    """Frames of 10 ms to stereo sound at 24 kHz; about 18 MB."""
    vocoder = LTX2Vocoder(
        in_channels=SIDES * MEL_BINS,
        hidden_channels=2 * UNITS,
        upsample_kernel_sizes=[1, KERNEL],
        upsample_factors=[1, HOP],
        resnet_kernel_sizes=[3],
        # No residual layers: a block of none passes what it gets.
        resnet_dilations=[[]],
        leaky_relu_negative_slope=0.0,
        output_sampling_rate=RATE,
    )
    _zero(vocoder)
    readings = _read_score(vocoder.conv_in)
    units = _Units(vocoder, readings, torch.Generator().manual_seed(SEED))
    for noise in NOISES:
        units.add_noise(noise)
    for note in NOTES:
        units.add_note(note)
    signs = torch.tensor([1.0, -1.0]) / (1 + LEAK)
    for side in range(SIDES):
        vocoder.conv_out.weight[side, 2 * side : 2 * side + 2, NOW] = signs
    return vocoder


def _zero(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(False).zero_()  # noqa: FBT003 - torch names it otherwise


def _bias(layer: nn.Conv1d | nn.Conv2d) -> Tensor:
    """Of a layer that has one, as all here do."""
    assert layer.bias is not None  # noqa: S101 - for the types
    return layer.bias


def _pairs_in(conv: nn.Conv2d) -> None:
    """Each side, its negative, and constants in all other channels."""
    sides = torch.arange(SIDES)
    conv.weight[sides, sides, 2, 1] = 1
    conv.weight[SIDES + sides, sides, 2, 1] = -1
    _bias(conv)[2 * SIDES :] = CONSTANT


def _pairs_out(conv: nn.Conv2d) -> None:
    """The norm has divided by the constant's share; silu(z) - silu(-z) = z."""
    sides = torch.arange(SIDES)
    scale = CONSTANT * math.sqrt(1 - 2 * SIDES / AUDIO_CHANNELS)
    conv.weight[sides, sides, 2, 1] = scale
    conv.weight[sides, SIDES + sides, 2, 1] = -scale


@dataclass(slots=True)
class _Readings:
    """Which units after the first layer add up to a value, and with which sign."""

    levels: dict[str, tuple[int, int]]
    sources: dict[tuple[int, int], tuple[int, int]]
    edge: int


def _read_score(conv: nn.Conv1d) -> _Readings:
    """Levels cut to [0, 1] and random numbers, as differences of two ReLUs; and the ends."""
    pairs = iter(range(0, conv.out_channels, 2))
    levels = {name: _level(conv, name, next(pairs)) for name in LEVELS}
    sources = {
        (side, source): _source(conv, side, source, next(pairs))
        for side in range(SIDES)
        for source in range(SOURCES)
    }
    edge = next(pairs)
    around = [tap for tap in range(TAPS) if tap != NOW]
    conv.weight[edge, :, around] = -1 / (OFFSET * NOW * conv.in_channels)
    # Less a little, for the mean is not OFFSET exactly.
    _bias(conv)[edge] = len(around) / NOW - 0.15
    return _Readings(levels, sources, edge)


def _bins(side: int, band_: int) -> slice:
    first = side * MEL_BINS + band_ * BAND_BINS
    return slice(first, first + BAND_BINS)


def _level(conv: nn.Conv1d, name: str, unit: int) -> tuple[int, int]:
    for row, start in ((unit, 0.0), (unit + 1, 1.0)):
        for side in range(SIDES):
            bins = _bins(side, LEVELS.index(name))
            if name == "beat":
                # A beat is where its level rises: 60 ms.
                conv.weight[row, bins, TAPS - 1] = 1 / (SIDES * BAND_BINS)
                conv.weight[row, bins, 0] = -1 / (SIDES * BAND_BINS)
            else:
                conv.weight[row, bins, NOW] = 2 / (SIDES * BAND_BINS)
        _bias(conv)[row] = (-0.5 if name == "beat" else -2 * OFFSET) - start
    return unit, unit + 1


def _source(conv: nn.Conv1d, side: int, source: int, unit: int) -> tuple[int, int]:
    for row, sign in ((unit, 1), (unit + 1, -1)):
        conv.weight[row, _bins(side, len(LEVELS) + source), NOW] = sign / BAND_BINS
        _bias(conv)[row] = -sign * OFFSET
    return unit, unit + 1


@dataclass(slots=True)
class _Units:
    """Hands out the second layer's units: what sounds in a frame, each with its waveform."""

    vocoder: LTX2Vocoder
    readings: _Readings
    rng: torch.Generator
    used: int = 0

    def add_noise(self, noise: Noise) -> None:
        scale = noise.loudness / math.sqrt(2 * len(noise.sources))
        for side in range(SIDES):
            for source in noise.sources:
                wave_K = _noise_wave(noise, self.rng) * scale
                for sign in (1, -1):
                    unit = self._gate(noise, side, source, sign)
                    self._sound(unit, side, sign * wave_K)

    def add_note(self, note: Note) -> None:
        unit = self._take()
        self._read(unit, self.readings.levels[note.level], 1)
        # Beyond the start a beat's level seems to rise by OFFSET: three frames are mute.
        fade = 8 if note.level == "beat" else 1
        self.vocoder.upsamplers[0].weight[self.readings.edge, unit, 0] = -fade
        for side in range(SIDES):
            self._sound(unit, side, _note_wave(note))

    def _gate(self, noise: Noise, side: int, source: int, sign: int) -> int:
        """A unit that passes `sign` times a random number where all its levels are 1."""
        unit, layer = self._take(), self.vocoder.upsamplers[0]
        self._read(unit, self.readings.sources[side, source], sign)
        for name in noise.levels:
            self._read(unit, self.readings.levels[name], CLOSED)
        layer.weight[self.readings.edge, unit, 0] = -3 * CLOSED
        layer.bias[unit] = -CLOSED * len(noise.levels) - noise.threshold
        return unit

    def _take(self) -> int:
        self.used += 1
        return self.used - 1

    def _read(self, unit: int, pair: tuple[int, int], gain: float) -> None:
        weight = self.vocoder.upsamplers[0].weight
        weight[pair[0], unit, 0] = gain
        weight[pair[1], unit, 0] = -gain

    def _sound(self, unit: int, side: int, wave_K: Tensor) -> None:
        weight = self.vocoder.upsamplers[1].weight
        weight[unit, 2 * side] = wave_K
        weight[unit, 2 * side + 1] = -wave_K


def _noise_wave(noise: Noise, rng: torch.Generator) -> Tensor:
    """A burst less itself one frame later.

    A random number is held for four frames; summed over them, what is left of the repetition is
    the burst and, 40 ms later, its negative: no pitch of 100 Hz.
    """
    burst = _drops(rng) if noise.drops else torch.randn(BURST, generator=rng)
    burst = _shaped(burst, noise)
    ramp = torch.sin(torch.arange(RAMP) * (math.pi / 2 / RAMP))
    burst[:RAMP] *= ramp
    burst[-RAMP:] *= ramp.flip(0)
    burst /= burst.square().mean().sqrt()
    wave_K = torch.zeros(KERNEL)
    wave_K[:BURST] += burst
    wave_K[-BURST:] -= burst
    return wave_K


def _drops(rng: torch.Generator) -> Tensor:
    """A few clicks that die away in 2 ms."""
    clicks = torch.zeros(BURST)
    places = torch.randint(RAMP, BURST - RAMP, (3,), generator=rng)
    clicks[places] = torch.randn(3, generator=rng)
    noise = torch.randn(BURST, generator=rng)
    decay = torch.exp(-torch.arange(BURST) / 48.0)
    ringing: Tensor = torch.fft.irfft(
        torch.fft.rfft(clicks, 2 * BURST) * torch.fft.rfft(noise * decay, 2 * BURST)
    )
    return ringing[:BURST].clone()


def _shaped(burst: Tensor, noise: Noise) -> Tensor:
    """Between `low` and `high`, with soft edges, and the slope."""
    hertz = torch.fft.rfftfreq(len(burst), 1 / RATE).clamp(min=1)
    gain = (hertz / noise.low) ** (noise.slope / 6.02)
    gain = gain / (1 + (noise.low / hertz) ** 8).sqrt() / (1 + (hertz / noise.high) ** 8).sqrt()
    shaped: Tensor = torch.fft.irfft(torch.fft.rfft(burst) * gain, len(burst))
    return shaped


def _note_wave(note: Note) -> Tensor:
    """Sines under a window of two frames, which add up to steady ones."""
    time = (torch.arange(2 * HOP) - HOP // 2) / RATE
    sines = sum(a * torch.sin(2 * math.pi * hertz * time) for hertz, a in note.partials)
    wave_K = torch.zeros(KERNEL)
    middle = (KERNEL - 2 * HOP) // 2
    wave_K[middle : middle + 2 * HOP] = torch.hann_window(2 * HOP) * sines
    return wave_K


def hold_score(levels: Sequence[str], rng: torch.Generator, latents: int) -> Tensor:
    """1 x L x D latents in which `levels` play throughout: what the transformer should make."""
    score_BLD = torch.randn(1, latents, AUDIO_CHANNELS, generator=rng)
    for side in range(SIDES):
        for name in LEVELS:
            score_BLD[..., band(name, side)] = ON if name in levels else -ON
    return score_BLD
