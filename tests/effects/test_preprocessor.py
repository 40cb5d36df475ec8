"""preprocessor: the source becomes a control video, and the result follows that."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

from tests.effects import measure, scenes
from tests.effects.conftest import FPS, footage
from tests.effects.measure import Frames
from tests.effects.studio import Order, Source, Studio

FRAMES = 9
KINDS = ("canny", "depth", "pose")
# Left, top, right, bottom of the two people in the first third of a second, read off the picture,
# with room for a joint's radius.
PEOPLE = ((66, 0, 112, 66), (202, 66, 236, 128))


@dataclass(frozen=True)
class Made:
    """A source, and what was made of it with a preprocessor."""

    source: Source
    order: Order

    @cached_property
    def drawn(self) -> Frames:
        """The control video's frames, at the source's size."""
        frames_THWC = measure.read(self.order.control_file).frames_THWC
        return scenes.resized(frames_THWC, scenes.WIDTH, scenes.HEIGHT)


@pytest.fixture(scope="module")
def made(studio: Studio) -> dict[str, Made]:
    """Street footage for edges and people, a drawn corridor for depth."""
    street = studio.film(footage(scenes.WIDTH, scenes.HEIGHT, FRAMES), FPS)
    corridor = studio.film(scenes.still(scenes.corridor()[0], FRAMES), FPS)
    sources = {"canny": street, "depth": corridor, "pose": street}
    return {
        kind: Made(sources[kind], studio.order(sources[kind], preprocessor=kind)) for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_control_video_is_beside_the_result(made: dict[str, Made], kind: str) -> None:
    """Of its length and rate, at its size or half of it, without sound, and not the same file."""
    result = made[kind].order.result
    assert result.media
    assert result.output
    assert result.control

    control = result.control.media
    assert result.control.video != result.output.video
    assert (control.frames, control.fps) == (result.media.frames, result.media.fps)
    assert result.media.width in {control.width, 2 * control.width}
    assert result.media.height in {control.height, 2 * control.height}
    assert not control.audio
    assert len(made[kind].drawn) == control.frames


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_says_what_ran(made: dict[str, Made], kind: str) -> None:
    """The preprocessor's model, and the IC-LoRA that goes with it."""
    manifest, metrics = made[kind].order.manifest, made[kind].order.result.metrics
    assert manifest.preprocessor
    assert metrics

    assert manifest.preprocessor.name == kind
    assert kind in manifest.loras[0].path.lower()
    assert metrics["preprocess"] > 0


@pytest.mark.parameter("preprocessor")
def test_edges_are_where_the_source_has_them(made: dict[str, Made]) -> None:
    """White lines on black that correlate with the source's edges and not their mirror image."""
    drawn, source = made["canny"].drawn, made["canny"].source.frames_THWC
    assert 0.5 < measure.dark_share(drawn) < 0.97
    assert measure.saturation(drawn) < 0.01

    lines, edges = measure.luma(drawn), measure.edges(source)
    assert measure.likeness(lines, edges) > 0.3
    assert measure.likeness(lines, edges) > measure.likeness(lines[:, :, ::-1], edges) + 0.2


@pytest.mark.parameter("preprocessor")
def test_near_is_brighter_than_far(made: dict[str, Made]) -> None:
    """Shades follow the corridor's true nearness, and stand still as it does."""
    shades, (_, depth_HW) = measure.luma(made["depth"].drawn), scenes.corridor()
    assert measure.saturation(made["depth"].drawn) < 0.01
    assert measure.likeness(shades[0], 1 / depth_HW) > 0.8
    assert shades[0][depth_HW < 3.5].mean() > shades[0][depth_HW > 7].mean() + 0.3
    assert measure.flicker(made["depth"].drawn) < 0.005


@pytest.mark.parameter("preprocessor")
def test_skeletons_are_where_people_are(made: dict[str, Made]) -> None:
    """Colours inside both people's boxes, black everywhere else."""
    lit_THW = made["pose"].drawn.max(axis=-1) > 60
    people_HW = np.zeros(lit_THW.shape[1:], bool)
    for left, top, right, bottom in PEOPLE:
        people_HW[top:bottom, left:right] = True
        # Later the picture's rim cuts off the man's head, and the model may miss him.
        assert lit_THW[:5, top:bottom, left:right].any(axis=(1, 2)).all()
    assert not lit_THW[:, ~people_HW].any()
    assert measure.saturation(made["pose"].drawn) > 0.001


@pytest.mark.parametrize("kind", ["canny", "pose"])
def test_the_result_is_that_of_its_control_video(
    studio: Studio, made: dict[str, Made], kind: str
) -> None:
    """Whoever sends the control video and names its IC-LoRA gets nearly the same clip."""
    control = Source(studio.file(made[kind].order.control_file), made[kind].drawn, FPS)
    sent = studio.order(control, ic_lora=kind)
    straight = studio.order(made[kind].source)

    alike = measure.psnr(sent.frames, made[kind].order.frames)
    assert alike > 20
    assert alike > measure.psnr(straight.frames, made[kind].order.frames) + 5


@pytest.mark.parameter("ic_lora", "preprocessor")
def test_without_its_ic_lora_the_control_itself_is_restyled(
    studio: Studio, made: dict[str, Made]
) -> None:
    """`ic_lora` none: the result looks like the lines, and no LoRA is in the manifest."""
    plain = studio.order(made["canny"].source, preprocessor="canny", ic_lora="none")
    assert plain.manifest.loras == []
    assert plain.manifest.preprocessor
    assert measure.correlation(plain.frames, made["canny"].drawn) > 0.5


def test_without_the_source_nothing_is_made_of_it(studio: Studio, made: dict[str, Made]) -> None:
    """At `video_strength` 0 a preprocessor has no effect, and a warning says so."""
    source = made["canny"].source
    free = studio.order(source, video_strength=0)
    asked = studio.order(source, video_strength=0, preprocessor="canny")

    assert asked.warned["preprocessor"] == "none"
    assert asked.result.control is None
    assert asked.manifest.preprocessor is None
    assert "preprocess" not in (asked.result.metrics or {})
    assert asked.file.read_bytes() == free.file.read_bytes()


def test_without_a_preprocessor_there_is_no_control(studio: Studio, made: dict[str, Made]) -> None:
    """The source itself is what the model sees."""
    straight = studio.order(made["canny"].source)
    assert straight.result.control is None
    assert straight.manifest.preprocessor is None
