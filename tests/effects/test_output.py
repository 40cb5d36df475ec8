"""video_output_type and video_quality: the file."""

from itertools import pairwise

import httpx2
import pytest

from tests.effects import measure
from tests.effects.studio import Order, Source, Studio

QUALITIES = ("low", "medium", "high", "maximum")


@pytest.fixture(scope="module")
def by_quality(studio: Studio, film: Source) -> dict[str, Order]:
    return {quality: studio.order(film, video_quality=quality) for quality in QUALITIES}


@pytest.mark.parameter("video_quality")
def test_better_quality_is_a_larger_file(by_quality: dict[str, Order]) -> None:
    """Each level is at least a tenth larger than the one below."""
    sizes = [by_quality[quality].file.stat().st_size for quality in QUALITIES]

    assert all(large > 1.1 * small for small, large in pairwise(sizes)), sizes


@pytest.mark.parameter("video_quality")
def test_better_quality_is_nearer_to_what_was_made(by_quality: dict[str, Order]) -> None:
    """Against the best; each level is nearer by half a decibel or more."""
    best = by_quality["maximum"].frames
    likeness = [measure.psnr(by_quality[quality].frames, best) for quality in QUALITIES]

    assert all(b > a + 0.5 for a, b in pairwise(likeness)), likeness


@pytest.mark.parameter("video_output_type")
def test_the_file_is_what_the_answer_says(by_quality: dict[str, Order]) -> None:
    """H.264 in mp4; size in bytes, sides, rate, frames and duration are those of the file."""
    made = by_quality["high"]
    media = made.result.media

    assert media
    assert (made.video.codec, media.content_type) == ("h264", "video/mp4")
    assert media.size == made.file.stat().st_size
    assert (media.width, media.height) == made.video.size
    assert media.frames == len(made.frames)
    assert media.fps == str(made.video.fps)
    assert media.duration_s == pytest.approx(made.video.duration_s, abs=0.002)


FORMATS = {
    "X264 (.mp4)": ("h264", "video/mp4", ".mp4"),
    "VP9 (.webm)": ("vp9", "video/webm", ".webm"),
    "PRORES4444 (.mov)": ("prores", "video/quicktime", ".mov"),
    "GIF (.gif)": ("gif", "image/gif", ".gif"),
}


@pytest.mark.parameter("video_output_type")
@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_what_its_name_says(studio: Studio, film: Source, name: str) -> None:
    """Codec, extension, content type; frames, sides, rate and length as told; sound but in a GIF.

    Of its missing sound a GIF warns, and of nothing else: 25 frames a second are whole hundredths.
    """
    made = studio.order(film, video_output_type=name, generate_audio=True)
    codec, content_type, extension = FORMATS[name]
    silent = name == "GIF (.gif)"
    output, media = made.result.output, made.result.media

    assert output
    assert media
    assert output.video
    assert output.video.endswith(extension)
    served = httpx2.head(output.video, follow_redirects=True)
    assert (served.headers["content-type"], media.content_type) == (content_type, content_type)
    assert int(served.headers["content-length"]) == media.size == made.file.stat().st_size
    assert (made.video.codec, len(made.frames), made.video.size) == (codec, 9, (256, 128))
    assert (media.frames, (media.width, media.height)) == (9, made.video.size)
    assert (media.fps, media.duration_s) == ("25", pytest.approx(9 / 25))
    assert (media.audio, made.video.sound_CS is None) == (not silent, silent)
    assert made.warned == ({"generate_audio": False} if silent else {})


@pytest.mark.parameter("video_output_type")
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "X264 (.mp4)"])
def test_each_format_holds_the_same_clip(studio: Studio, film: Source, name: str) -> None:
    """As in the mp4, to 33 dB; to 28 in a GIF, which has few colours."""
    usual, other = (
        studio.order(film, video_output_type=one, generate_audio=True)
        for one in ("X264 (.mp4)", name)
    )

    assert measure.psnr(other.frames, usual.frames) > (28 if name == "GIF (.gif)" else 33)
