"""num_frames, match_video_length, fps, match_input_fps: how many pictures, how fast."""

from fractions import Fraction

import pytest

from tests.effects import scenes
from tests.effects.studio import Source, Studio

NTSC = Fraction(30000, 1001)
SMALL = {"video_size": {"width": 128, "height": 64}}


@pytest.fixture(scope="module")
def second(studio: Studio) -> Source:
    """A second of 25 frames."""
    return studio.film(scenes.discs(25), 25)


@pytest.mark.parameter("num_frames")
@pytest.mark.parametrize("frames", [9, 17, 25])
def test_as_many_frames_as_asked(studio: Studio, second: Source, frames: int) -> None:
    """8k+1 of them are made exactly, at the source's rate."""
    made = studio.order(second, **SMALL, match_video_length=False, num_frames=frames)

    assert len(made.frames) == frames
    assert made.video.fps == second.fps
    assert made.video.duration_s == pytest.approx(float(frames / second.fps), abs=0.002)
    assert "num_frames" not in made.warned


@pytest.mark.parametrize(("asked", "used"), [(12, 9), (14, 17)])
def test_other_counts_are_snapped_and_told(
    studio: Studio, second: Source, asked: int, used: int
) -> None:
    """To the nearest 8k+1."""
    made = studio.order(second, **SMALL, match_video_length=False, num_frames=asked)

    assert len(made.frames) == used
    assert made.warned["num_frames"] == used


@pytest.mark.parameter("match_video_length")
def test_length_follows_the_source(studio: Studio) -> None:
    """Snapped down, whatever num_frames says."""
    source = studio.film(scenes.discs(21))

    made = studio.order(source, **SMALL, match_video_length=True, num_frames=121)

    assert len(made.frames) == 17
    assert made.warned["num_frames"] == 17


@pytest.mark.parameter("match_input_fps")
def test_the_rate_of_the_source_is_kept_exactly(studio: Studio) -> None:
    """As a fraction; fps is not looked at."""
    source = studio.film(scenes.discs(17), NTSC)

    made = studio.order(source, **SMALL, fps=12.0)

    assert made.video.fps == NTSC
    assert len(made.frames) == 17
    assert made.video.duration_s == pytest.approx(float(17 / NTSC), abs=0.002)


@pytest.mark.parameter("fps")
@pytest.mark.parametrize(
    ("fps", "exact"), [(12.5, Fraction(25, 2)), (23.976, Fraction(24000, 1001)), (50.0, 50)]
)
def test_another_rate_keeps_the_duration(
    studio: Studio, second: Source, fps: float, exact: Fraction
) -> None:
    """As near as 8k+1 frames at that rate can be, and never longer."""
    made = studio.order(second, **SMALL, match_input_fps=False, fps=fps)

    assert made.video.fps == exact
    assert len(made.frames) == (int(exact) - 1) // 8 * 8 + 1
    assert made.video.duration_s <= 1.002
