"""loras: each changes the result by its scale."""

from importlib.resources import files as package_files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.effects import measure
from tests.effects.studio import Order, Source, Studio

SCALES = (0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def paths(request: pytest.FixtureRequest) -> list[str]:
    """Those given with --lora, or the styles that come with the small checkpoint."""
    if given := request.config.getoption("--lora", default=None):
        return list(given)
    shipped = Path(str(package_files("rotoscope"))) / "data" / "mini" / "loras"
    files = sorted(shipped.glob("style_*.safetensors"))
    return [f"rotoscope://loras/{file.stem}" for file in files]


@pytest.fixture(scope="module")
def by_scale(studio: Studio, film: Source, paths: list[str]) -> dict[str, list[Order]]:
    assert paths
    return {
        path: [studio.order(film, loras=[lora(path, scale)]) for scale in SCALES] for path in paths
    }


@pytest.fixture(scope="module")
def without(studio: Studio, film: Source) -> Order:
    return studio.order(film)


@pytest.mark.parameter("loras")
def test_scale_0_is_as_without(
    studio: Studio, film: Source, paths: list[str], without: Order
) -> None:
    """To the last byte of the file."""
    for path in paths[:1]:
        made = studio.order(film, loras=[lora(path, 0)])
        assert made.file.read_bytes() == without.file.read_bytes()


@pytest.mark.parameter("loras")
def test_more_scale_is_more_effect(by_scale: dict[str, list[Order]], without: Order) -> None:
    """The distance from the result without grows at each step, and at 1 is seen at once."""
    for path, orders in by_scale.items():
        distances = [0.0, *(measure.distance(order.frames, without.frames) for order in orders)]

        assert all(more > less + 0.005 for less, more in pairwise(distances)), (path, distances)
        # Three hundredths of full scale: 30 dB.
        assert distances[1 + SCALES.index(1)] > 0.03, (path, distances)


def test_each_has_its_own_effect(by_scale: dict[str, list[Order]]) -> None:
    """No two results at scale 1 are alike."""
    frames = [orders[SCALES.index(1)].frames for orders in by_scale.values()]

    for index, one in enumerate(frames):
        for other in frames[:index]:
            assert measure.distance(one, other) > 0.03


def test_the_scene_stays(by_scale: dict[str, list[Order]], film: Source) -> None:
    """A style at scale 1 leaves edges where they are."""
    for path, orders in by_scale.items():
        made = orders[SCALES.index(1)].frames
        assert measure.edge_correlation(made, film.frames_THWC) > 0.4, path


@pytest.mark.parameter("loras")
def test_two_act_together(
    studio: Studio, film: Source, paths: list[str], by_scale: dict[str, list[Order]]
) -> None:
    """The result has something of both: it is like neither alone, and the manifest names both."""
    first, second = paths[:2]
    both = studio.order(film, loras=[lora(first, 1.0), lora(second, 1.0)])

    assert [facts.path for facts in both.manifest.loras] == [first, second]
    for path in (first, second):
        alone = by_scale[path][SCALES.index(1)].frames
        assert measure.distance(both.frames, alone) > 0.02


def lora(path: str, scale: float) -> dict[str, Any]:
    return {"path": path, "scale": scale}
