"""video_url: the result shows the source that was sent, not another one."""

import pytest

from tests.effects import measure, scenes
from tests.effects.conftest import FPS
from tests.effects.studio import Source, Studio


@pytest.mark.parameter("video_url")
def test_each_result_shows_its_own_source(studio: Studio, film: Source) -> None:
    """Nearer to it than to the other, by 6 dB."""
    other = studio.film(scenes.still(scenes.landscape(width=256, height=128), 9), FPS)
    for own, foreign in ((film, other), (other, film)):
        made = studio.order(own).frames
        near = measure.psnr(made, own.frames_THWC)
        assert near > measure.psnr(made, foreign.frames_THWC) + 6
