"""ic_lora and ic_lora_scale: a control video goes in, a picture comes out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tests.effects import measure, scenes
from tests.effects.conftest import FPS, FRAMES, footage
from tests.effects.measure import Frames
from tests.effects.studio import Order, Source, Studio

SCALES = (0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Control:
    """A kind of control video, the prompt that goes with it, and where it has something to show."""

    draw: Callable[[int], Frames]
    prompt: str


CONTROLS = {
    "canny": Control(scenes.outlines_of_discs, "three colored balls, realistic video"),
    "depth": Control(scenes.depth_of_discs, "three colored balls, realistic video"),
    "pose": Control(scenes.skeleton, "a person is walking, realistic video"),
}


@dataclass(frozen=True, slots=True)
class Made:
    source: Source
    none: Order
    by_scale: list[Order]

    @property
    def without(self) -> Frames:
        return self.none.frames

    @property
    def whole(self) -> Frames:
        return self.by_scale[-1].frames


@pytest.fixture(scope="module")
def controlled(studio: Studio) -> dict[str, Made]:
    made = {}
    for name, control in CONTROLS.items():
        source = studio.film(control.draw(FRAMES), FPS)
        orders = [
            studio.order(source, prompt=control.prompt, ic_lora=name, ic_lora_scale=scale)
            for scale in SCALES
        ]
        none = studio.order(source, prompt=control.prompt, ic_lora="none")
        made[name] = Made(source, none, orders)
    return made


@pytest.mark.parametrize("name", CONTROLS)
def test_the_result_is_a_picture_not_the_control(controlled: dict[str, Made], name: str) -> None:
    """It is further from the control than without the IC-LoRA, by a tenth of full scale."""
    made, control = controlled[name], controlled[name].source.frames_THWC

    further = measure.distance(made.whole, control) - measure.distance(made.without, control)
    assert further > 0.1


@pytest.mark.parametrize("name", ["canny", "pose"])
def test_the_black_ground_is_filled(controlled: dict[str, Made], name: str) -> None:
    """The control is black but for its lines; less than half of the result is."""
    made = controlled[name]

    assert measure.dark_share(made.source.frames_THWC) > 0.9
    assert measure.dark_share(made.whole) < 0.5


@pytest.mark.parameter("ic_lora")
@pytest.mark.parametrize("name", CONTROLS)
def test_things_are_where_the_control_has_them(controlled: dict[str, Made], name: str) -> None:
    """The result's edges lie near the control's, and not near those of its mirror image."""
    made = controlled[name]
    control = made.source.frames_THWC

    here = nearness(made.whole, control)
    mirrored = nearness(made.whole, control[:, :, ::-1])
    assert here > 0.2
    assert here > mirrored + 0.1


@pytest.mark.parameter("ic_lora_scale")
@pytest.mark.parametrize("name", CONTROLS)
def test_the_scale_is_how_much(controlled: dict[str, Made], name: str) -> None:
    """Half is less than all, and more than none."""
    made = controlled[name]
    half = measure.distance(made.by_scale[0].frames, made.without)

    assert 0.01 < half < measure.distance(made.whole, made.without)


@pytest.mark.parameter("ic_lora_scale")
def test_scale_0_is_as_none(studio: Studio, controlled: dict[str, Made]) -> None:
    """To the last byte of the file."""
    made = controlled["canny"]
    prompt = CONTROLS["canny"].prompt
    zero = studio.order(made.source, prompt=prompt, ic_lora="canny", ic_lora_scale=0)

    assert zero.file.read_bytes() == made.none.file.read_bytes()


@pytest.mark.parametrize("name", CONTROLS)
def test_the_manifest_names_it(controlled: dict[str, Made], name: str) -> None:
    """With its scale, and only where it acted."""
    made = controlled[name]
    orders = [made.none, *made.by_scale]

    scales = [[facts.scale for facts in order.manifest.loras] for order in orders]
    assert scales == [[], [0.5], [1.0]]


@pytest.mark.parameter("ic_lora")
def test_the_detailer_restores_detail(studio: Studio) -> None:
    """From a soft copy, the result is sharper than without it, and nearer to the original."""
    original = footage(256, 128, FRAMES)
    soft = studio.film(scenes.softened(original, 4), FPS)
    without = studio.order(soft, ic_lora="none").frames
    detailed = studio.order(soft, ic_lora="detailer").frames

    assert measure.sharpness(detailed) > 1.1 * measure.sharpness(soft.frames_THWC)
    assert measure.sharpness(detailed) > 1.1 * measure.sharpness(without)
    assert measure.edge_correlation(detailed, original) > measure.edge_correlation(
        without, original
    )


def nearness(made: Frames, control: Frames) -> float:
    """Correlation of edge strengths, each spread over 8x8 blocks: where, not how thin."""
    cells = [measure.block_means(measure.edges(frames)) for frames in (made, control)]
    pairs = zip(*cells, strict=True)
    return float(np.mean([measure.likeness(one, other) for one, other in pairs]))
