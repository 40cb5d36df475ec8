"""Each format at each level: what a probe of it says, what it keeps, where its sound lies."""

from fractions import Fraction
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import pytest

from rotoscope.media.clip import Audio, Clip, Frames, Size
from rotoscope.media.decode import decode
from rotoscope.media.encode import encode
from rotoscope.media.formats import FORMATS, QUALITIES, adjustments, gif_frames, has_sound
from rotoscope.schema.input import OutputType, Quality, VideoToVideoInput

NTSC = Fraction(30000, 1001)
GIF: OutputType = "GIF (.gif)"
TYPES: tuple[OutputType, ...] = get_args(OutputType)
HEARD = tuple(name for name in TYPES if FORMATS[name].sound)
RATE = 24000
# What tells where each picture is, and what the pictures are in.
INDEX = {
    "X264 (.mp4)": [(b"moov", b"mdat")],
    "VP9 (.webm)": [(b"\x1c\x53\xbb\x6b", b"\x1f\x43\xb6\x75")],
    "PRORES4444 (.mov)": [(b"moov", b"mdat")],
}
COLOURS = tuple(zip(QUALITIES, (32, 64, 128, 256), strict=True))
CLICK = np.cos(np.arange(25)) * np.hanning(25)
SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"

# Codec, profile, pixel format; codec and rate of the sound. A palette is shown as BGRA.
KINDS = {
    "X264 (.mp4)": ("h264", "High", "yuv420p", "aac", 24000),
    "VP9 (.webm)": ("vp9", "Profile 0", "yuv420p", "opus", 48000),
    "PRORES4444 (.mov)": ("prores", "4444", "yuva444p12le", "pcm_s16le", 24000),
    GIF: ("gif", None, "bgra", None, None),
}


def clip_of(frames: int = 12, fps: Fraction = NTSC) -> Clip:
    """A pattern that moves; a click as its first frame begins, and one as its last does."""
    rng = np.random.default_rng(1)
    picture = rng.integers(40, 216, (16, 64, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    frames_THWC = np.stack([picture[:, 4 * i : 4 * i + 64] for i in range(frames)])
    samples_CS = np.zeros((2, round(frames / fps * RATE)), dtype=np.float32)
    for start in clicks(frames, fps):
        samples_CS[:, start : start + len(CLICK)] = CLICK / 2
    return Clip(frames_THWC, fps, Audio(samples_CS, RATE))


def clicks(frames: int, fps: Fraction) -> tuple[int, int]:
    """Samples at which the first and the last frame begin."""
    return 0, round((frames - 1) / fps * RATE)


@pytest.fixture(scope="module")
def filmed() -> Clip:
    """Twelve frames of the sample clip, small: levels were chosen for pictures of cameras."""
    frames_THWC = decode(SAMPLE, frames=12, fps=Fraction(30), size=Size(256, 144))
    return Clip(frames_THWC, NTSC)


def asked(**fields: Any) -> VideoToVideoInput:
    base = {"prompt": "a", "video_url": "https://example.org/a.mp4", "loras": ()}
    return VideoToVideoInput.model_validate(base | fields)


def shown(path: Path) -> Frames:
    """The frames, (T, H, W, 3), read as their tags say."""
    with av.open(path) as container:
        return np.stack([one.to_ndarray(format="rgb24") for one in container.decode(video=0)])


def heard(path: Path) -> tuple[np.ndarray[Any, Any], int, Fraction]:
    """The left channel in -1 to 1, its rate, and the time in seconds of its first sample."""
    with av.open(path) as container:
        blocks = list(container.decode(audio=0))
    to_float = av.AudioResampler(format="fltp")
    floats = [one for block in [*blocks, None] for one in to_float.resample(block)]
    wave_S = np.concatenate([block.to_ndarray()[0] for block in floats])
    first = blocks[0]
    return wave_S, first.sample_rate, Fraction(first.pts or 0) * (first.time_base or 1)


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", TYPES)
def test_a_probe_shows_what_was_asked_for(
    name: OutputType, quality: Quality, tmp_path: Path
) -> None:
    """Codecs, profile, pixel format, BT.709 limited, exact rate, frames, length, index in front."""
    encoded = encode(clip_of(), quality=quality, into=tmp_path, output_type=name)
    codec, profile, pix_fmt, sound, rate = KINDS[name]

    with av.open(encoded.path) as container:
        stream: Any = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.profile, context.pix_fmt) == (codec, profile, pix_fmt)
        assert sum(1 for _ in container.decode(stream)) == 12
        if name != GIF:
            tags = (context.colorspace, context.color_primaries, context.color_trc)
            assert (*tags, context.color_range) == (1, 1, 1, 1)
            assert stream.average_rate == NTSC
        sounds = [(one.codec_context.name, one.rate) for one in container.streams.audio]
    assert sounds == ([(sound, rate)] if sound else [])
    media = encoded.media
    assert media.content_type == FORMATS[name].content_type
    assert (media.frames, media.width, media.height) == (12, 64, 64)
    assert media.duration_s == pytest.approx(12 / NTSC, abs=0.005)
    assert media.fps == ("30" if name == GIF else "30000/1001")
    assert (encoded.path.suffix, media.audio) == (FORMATS[name].extension, sound is not None)
    data = encoded.path.read_bytes()
    for index, pictures in INDEX.get(name, ()):
        assert data.rindex(index) < data.index(pictures)


@pytest.mark.parametrize("name", TYPES)
def test_each_level_is_larger_and_nearer(name: OutputType, filmed: Clip, tmp_path: Path) -> None:
    """By a tenth in bytes and half a decibel or more."""
    sizes, likeness = [], []
    for quality in QUALITIES:
        encoded = encode(filmed, quality=quality, into=tmp_path, output_type=name)
        sizes.append(encoded.media.size)
        likeness.append(psnr(shown(encoded.path), filmed.frames_THWC))

    assert all(b > 1.1 * a for a, b in pairwise(sizes)), sizes
    assert all(b > a + 0.5 for a, b in pairwise(likeness)), likeness


def psnr(one_THWC: Frames, other_THWC: Frames) -> float:
    """Decibels; more than 45 is what nobody sees."""
    error = one_THWC.astype(float) - other_THWC
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def test_the_best_prores_is_visually_lossless(filmed: Clip, tmp_path: Path) -> None:
    """Above 50 dB, hardly a pixel off by more than 4 of 255; and its alpha is opaque."""
    encoded = encode(filmed, quality="maximum", into=tmp_path, output_type="PRORES4444 (.mov)")

    frames_THWC = shown(encoded.path)
    off = np.abs(frames_THWC.astype(int) - filmed.frames_THWC)
    assert psnr(frames_THWC, filmed.frames_THWC) > 50
    assert (off > 4).mean() < 0.001
    with av.open(encoded.path) as container:
        alphas = [one.to_ndarray(format="rgba")[..., 3] for one in container.decode(video=0)]
    assert all((alpha == 255).all() for alpha in alphas)


@pytest.mark.parametrize(("quality", "most"), COLOURS)
def test_a_gif_has_a_palette_of_its_own(quality: Quality, most: int, tmp_path: Path) -> None:
    """As many colours as the level says, all spent on those of the clip: here 256 blues."""
    shades = np.arange(256, dtype=np.uint8)
    blues_WC = np.stack([shades // 8, shades // 4, shades], axis=-1)
    clip = Clip(np.broadcast_to(blues_WC, (3, 48, 256, 3)), Fraction(25))
    encoded = encode(clip, quality=quality, into=tmp_path, output_type=GIF)

    frames_THWC = shown(encoded.path)
    used = len(np.unique(frames_THWC.reshape(-1, 3), axis=0))
    assert 0.9 * most < used <= most
    # A palette for every picture has six levels a channel: 25 off half way between two.
    assert np.abs(frames_THWC.astype(int) - clip.frames_THWC).max() < 12


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", TYPES)
def test_the_same_clip_gives_the_same_bytes(
    name: OutputType, quality: Quality, tmp_path: Path
) -> None:
    """In every format at every level: no clock, no chance and no version string is in a file."""
    first, second = (
        encode(clip_of(), quality=quality, into=tmp_path, output_type=name).path.read_bytes()
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("fps", [Fraction(25), NTSC])
@pytest.mark.parametrize("name", HEARD)
def test_a_click_is_heard_where_it_was_made(
    name: OutputType, fps: Fraction, tmp_path: Path
) -> None:
    """To the sample, as the first frame begins and as the last one does: codecs' delays are told.

    Where the picture begins, and within a frame of where it ends, so does the sound.
    """
    encoded = encode(clip_of(fps=fps), quality="low", into=tmp_path, output_type=name)

    with av.open(encoded.path) as container:
        shown_at = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
        sound = container.streams.audio[0]
        ends = float((sound.duration or 0) * sound.time_base) or None
    wave_S, rate, starts = heard(encoded.path)
    assert (min(shown_at), starts) == (0, 0)
    for click in clicks(12, fps):
        found = strongest(wave_S, rate, near=click * rate // RATE)
        assert abs(found - click * rate / RATE) <= 1
    # AAC is decoded in blocks of 1024; the track's length says where to stop.
    assert (ends or len(wave_S) / rate) == pytest.approx(12 / fps, abs=1e-3)


def strongest(wave_S: np.ndarray[Any, Any], rate: int, near: int) -> int:
    """The sample at which most of the click's shape begins, within 20 ms of `near`."""
    click = np.repeat(CLICK, rate // RATE)
    reach = rate // 50
    around = np.pad(wave_S, reach + len(click))[near + len(click) :][: 2 * reach + len(click)]
    return int(np.correlate(around, click, "valid").argmax()) + near - reach


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), NTSC, Fraction(50), Fraction(60)])
def test_a_gif_takes_as_long_as_its_clip(fps: Fraction, tmp_path: Path) -> None:
    """To half a hundredth; none of its frames is shown for less than two of them."""
    encoded = encode(clip_of(fps=fps), quality="low", into=tmp_path, output_type=GIF)

    with av.open(encoded.path) as container:
        delays = [one.duration for one in container.demux(video=0) if one.pts is not None]
    assert min(delays) >= 2
    assert sum(delays) / 100 == pytest.approx(12 / fps, abs=0.0051)


def test_a_gif_above_fifty_leaves_frames_out() -> None:
    """Evenly, by their times."""
    *frames, end = gif_frames(12, Fraction(60))
    assert [index for index, _ in frames] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert end == (12, 20)


@pytest.mark.parametrize(
    ("fps", "fields"),
    [
        (Fraction(25), ["generate_audio"]),
        (Fraction(24), ["generate_audio", "fps"]),
        (Fraction(60), ["generate_audio", "fps"]),
    ],
)
def test_what_a_gif_cannot_hold_is_told(fps: Fraction, fields: list[str]) -> None:
    """Sound, and rates that are no whole hundredths; other formats change nothing."""
    assert [one.field for one in adjustments(asked(video_output_type=GIF), fps)] == fields
    assert not has_sound(asked(video_output_type=GIF))
    for name in HEARD:
        assert not list(adjustments(asked(video_output_type=name), fps))
