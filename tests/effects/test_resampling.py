"""match_input_fps and fps: which part of the source each frame shows."""

import pytest

from tests.effects import measure, scenes
from tests.effects.studio import Studio

STEP = 4
"""Frames between those compared: over fewer, codecs that group frames stand still and jump."""


@pytest.mark.parameter("fps")
def test_another_rate_keeps_the_speed_of_things(studio: Studio) -> None:
    """At half the rate, things go twice as far from one frame to the next."""
    source = studio.film(scenes.panned(34, 1.5, 0), 25)

    same = studio.order(source, match_video_length=False, num_frames=17)
    half = studio.order(
        source, match_video_length=False, num_frames=17, match_input_fps=False, fps=12.5
    )

    slow, fast = (measure.motion(order.frames, STEP).right for order in (same, half))
    # Half a pixel a frame, and a quarter of the ratio, allow for codecs that smooth motion.
    assert slow == pytest.approx(1.5, abs=0.5)
    assert fast / slow == pytest.approx(2, rel=0.25)
