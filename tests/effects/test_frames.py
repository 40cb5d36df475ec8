"""num_frames, match_video_length, fps, match_input_fps: how many pictures, how fast."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from rotoscope.media.probe import probe
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
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), NTSC], ids=["23.976", "29.97"])
def test_the_rate_of_the_source_is_kept_exactly(studio: Studio, rate: Fraction) -> None:
    """As a fraction; fps is not looked at."""
    source = studio.film(scenes.discs(17), rate)

    made = studio.order(source, **SMALL, fps=12.0)

    assert made.video.fps == rate
    assert len(made.frames) == 17
    assert made.video.duration_s == pytest.approx(float(17 / rate), abs=0.002)
    assert not {"fps", "match_input_fps"} & made.warned.keys()


@pytest.mark.parameter("match_input_fps")
def test_a_variable_rate_becomes_its_average(studio: Studio, tmp_path: Path) -> None:
    """Frames over the time that they take, as an exact fraction."""
    frames = scenes.discs(20)
    file = uneven(tmp_path / "uneven.mp4", frames, late_ms=[0, 9, 3])
    average = probe(file).fps
    source = Source(studio.file(file), frames, average)

    made = studio.order(source, **SMALL, match_video_length=False, num_frames=9)

    assert average.denominator > 1
    assert made.video.fps == average
    assert "match_input_fps" not in made.warned


def uneven(path: Path, frames_THWC: scenes.Frames, late_ms: list[int]) -> Path:
    """A video of 40 milliseconds a frame and now and then some more."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        time_ms = 0
        for number, pixels_HWC in enumerate(frames_THWC):
            frame = av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
            time_ms += 40 + late_ms[number % len(late_ms)]
        container.mux(stream.encode(None))
    return path


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
