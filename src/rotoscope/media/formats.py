"""The four formats and their four levels, as one table; nothing here needs a media library.

Levels of x264, VP9 and ProRes are crf 28 to 12, crf 40 to 18 and scales 13 to 2, chosen on natural
720p video; docs/reference/encode.md tells what they give. A GIF keeps every frame at its full size
at each level, and spends more colours on it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from rotoscope.schema.input import OutputType, Quality, VideoToVideoInput
from rotoscope.schema.output import Adjustment

QUALITIES: tuple[Quality, ...] = ("low", "medium", "high", "maximum")
CENTISECOND = Fraction(1, 100)
MAX_GIF_FPS = Fraction(50)
"""Browsers show frames of one hundredth of a second for ten."""
_NO_SOUND = "a GIF has no sound"
_DELAYS = "a GIF counts in hundredths of a second; the clip as a whole keeps its length"
_TOO_FAST = "browsers slow down a GIF whose frames are shown for less than two hundredths"


@dataclass(frozen=True, slots=True)
class Sound:
    """How sound is written; the model's own rate where `rate` is None."""

    codec: str
    rate: int | None = None
    bits_a_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A container with its codecs. Options are FFmpeg's, by their names there."""

    extension: str
    content_type: str
    container: str
    codec: str
    pix_fmt: str
    levels: Mapping[Quality, Mapping[str, str]]
    sound: Sound | None
    muxing: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    """At every level."""


_FAST_START = {"movflags": "+faststart"}

FORMATS: dict[OutputType, Format] = {
    "X264 (.mp4)": Format(
        extension=".mp4",
        content_type="video/mp4",
        container="mp4",
        muxing=_FAST_START,
        codec="libx264",
        pix_fmt="yuv420p",
        # One number of threads on every machine: x264's bytes depend on it, the others' do not.
        options={"profile": "high", "threads": "4"},
        levels={
            "low": {"crf": "28", "preset": "veryfast"},
            "medium": {"crf": "23", "preset": "medium"},
            "high": {"crf": "18", "preset": "medium"},
            "maximum": {"crf": "12", "preset": "slow"},
        },
        sound=Sound("aac", bits_a_second=192_000),
    ),
    "VP9 (.webm)": Format(
        extension=".webm",
        content_type="video/webm",
        container="webm",
        # The index in front, so that a browser can seek before it has the whole file.
        muxing={"cues_to_front": "1"},
        codec="libvpx-vp9",
        pix_fmt="yuv420p",
        options={
            "b": "0",
            "deadline": "good",
            "row-mt": "1",
            "tile-columns": "2",
            "lag-in-frames": "25",
            "threads": "8",
        },
        levels={
            # A sixth larger than at the pace of the others, and done in a fifth of the time.
            "low": {"crf": "40", "cpu-used": "5", "deadline": "realtime"},
            "medium": {"crf": "33", "cpu-used": "5"},
            "high": {"crf": "27", "cpu-used": "4"},
            "maximum": {"crf": "18", "cpu-used": "3"},
        },
        # Opus is 48 kHz inside whatever it is given.
        sound=Sound("libopus", rate=48_000, bits_a_second=160_000),
    ),
    "PRORES4444 (.mov)": Format(
        extension=".mov",
        content_type="video/quicktime",
        container="mov",
        muxing=_FAST_START,
        codec="prores_ks",
        pix_fmt="yuva444p10le",
        options={
            "profile": "4444",
            "vendor": "apl0",
            "alpha_bits": "8",
            "flags": "+qscale",
            "threads": "8",
        },
        # FFmpeg counts a quantiser's scale in units of 118.
        levels={
            "low": {"global_quality": str(13 * 118)},
            "medium": {"global_quality": str(9 * 118)},
            "high": {"global_quality": str(6 * 118)},
            "maximum": {"global_quality": str(2 * 118)},
        },
        sound=Sound("pcm_s16le"),
    ),
    "GIF (.gif)": Format(
        extension=".gif",
        content_type="image/gif",
        container="gif",
        codec="gif",
        pix_fmt="pal8",
        # Of the filters palettegen and paletteuse. Spreading the error, as Atkinson does, keeps the
        # tones of skin and sky that a palette lacks, and makes larger files.
        levels={
            "low": {"max_colors": "32", "dither": "bayer:bayer_scale=5"},
            "medium": {"max_colors": "64", "dither": "bayer:bayer_scale=5"},
            "high": {"max_colors": "128", "dither": "atkinson"},
            "maximum": {"max_colors": "256", "dither": "atkinson"},
        },
        sound=None,
    ),
}


def has_sound(asked: VideoToVideoInput) -> bool:
    """Whether the clip gets sound: asked for, and the format has any."""
    return asked.generate_audio and FORMATS[asked.video_output_type].sound is not None


def adjustments(asked: VideoToVideoInput, fps: Fraction) -> Iterator[Adjustment]:
    """What the format changes of a clip of `fps` frames a second."""
    if has_sound(asked) != asked.generate_audio:
        yield Adjustment(field="generate_audio", asked=True, used=False, why=_NO_SOUND)
    if FORMATS[asked.video_output_type].container != "gif":
        return
    if fps > MAX_GIF_FPS:
        yield Adjustment(field="fps", asked=str(fps), used=str(MAX_GIF_FPS), why=_TOO_FAST)
    elif (hundredths := 1 / fps / CENTISECOND).denominator != 1:
        short = math.floor(hundredths)
        used = f"delays of {short} and {short + 1} hundredths of a second"
        yield Adjustment(field="fps", asked=str(fps), used=used, why=_DELAYS)


def gif_frames(frames: int, fps: Fraction) -> Iterator[tuple[int, int]]:
    """Index and time in hundredths of a second of each frame that is shown, then of the end."""
    rate = min(fps, MAX_GIF_FPS)
    shown = max(1, math.floor(frames / fps * rate))
    for number in range(shown):
        yield (
            math.floor(number / rate * fps),
            math.floor(number / rate / CENTISECOND + Fraction(1, 2)),
        )
    yield frames, math.floor(frames / fps / CENTISECOND + Fraction(1, 2))
