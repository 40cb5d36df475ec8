"""The mp4: its colours, the length of its sound, and what a failure leaves."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from rotoscope.media.clip import Audio, Clip, Size
from rotoscope.media.decode import decode
from rotoscope.media.encode import encode
from rotoscope.media.sheet import contact_sheet
from tests.media.conftest import COLOURS, plain


def clip_of(count: int = 25, fps: Fraction | int = 25, audio: Audio | None = None) -> Clip:
    return Clip(np.stack([plain(i, 64, 64) for i in range(count)]), Fraction(fps), audio)


def tone(seconds: float, channels: int = 2) -> Audio:
    wave = np.sin(np.arange(int(24000 * seconds)) / 6).astype(np.float32) * 0.5
    return Audio(np.stack([wave] * channels), 24000)


@pytest.mark.parametrize("length", [0.4, 0.97, 1.0, 1.6])
def test_sound_ends_with_the_picture(tmp_path: Path, length: float) -> None:
    """Padded with silence where it is short, cut where it is long."""
    encoded = encode(clip_of(25, audio=tone(length)), quality="low", into=tmp_path)

    with av.open(encoded.path) as container:
        stream = container.streams.audio[0]
        heard = float(stream.duration * stream.time_base)
    assert heard == pytest.approx(1.0, abs=0.001)


def test_without_sound_there_is_no_track(tmp_path: Path) -> None:
    """Not even a silent one."""
    encoded = encode(clip_of(), quality="low", into=tmp_path)

    with av.open(encoded.path) as container:
        assert not container.streams.audio
    assert not encoded.media.audio


def test_one_channel_is_mono(tmp_path: Path) -> None:
    """Channels are kept as they are."""
    encoded = encode(clip_of(audio=tone(1, channels=1)), quality="low", into=tmp_path)

    with av.open(encoded.path) as container:
        assert container.streams.audio[0].layout.name == "mono"


def test_colours_survive(tmp_path: Path) -> None:
    """Encoded and read again, a colour is the one it was."""
    encoded = encode(clip_of(5), quality="maximum", into=tmp_path)

    frames = decode(encoded.path, frames=5, fps=Fraction(25), size=Size(64, 64)).astype(int)

    for frame, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(frame[8:-8, 8:-8].mean(axis=(0, 1)) - colour).max() <= 4


def test_a_failed_encode_leaves_nothing(tmp_path: Path) -> None:
    """No partial file stands where a whole one is looked for."""
    odd = Clip(np.zeros((3, 33, 31, 3), dtype=np.uint8), Fraction(25))

    with pytest.raises(av.error.FFmpegError):
        encode(odd, quality="high", into=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_contact_sheet_shows_both_clips(tmp_path: Path) -> None:
    """Moments of the one above the same moments of the other."""
    left = np.stack([plain(0, 64, 48)] * 8)
    right = np.stack([plain(2, 128, 96)] * 8)

    path = contact_sheet(left, right, into=tmp_path / "s.png", labels=("source", "result"))

    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
        assert sheet.width <= 1600
    for colour in (COLOURS[0], COLOURS[2]):
        assert (pixels == colour).all(axis=1).mean() > 0.3
