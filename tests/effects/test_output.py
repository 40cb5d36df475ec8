"""video_output_type and video_quality: the file."""

from itertools import pairwise

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
    """Codec, content type and extension; nine frames, and sound where the format has any."""
    made = studio.order(film, video_output_type=name, generate_audio=True)
    codec, content_type, extension = FORMATS[name]
    output, media = made.result.output, made.result.media

    assert output
    assert media
    assert output.video
    assert output.video.endswith(extension)
    assert (made.video.codec, media.content_type) == (codec, content_type)
    assert (media.frames, len(made.frames)) == (9, 9)
    assert media.audio == (name != "GIF (.gif)")
    assert ("generate_audio" in made.warned) == (name == "GIF (.gif)")
