"""Fixtures of the effects: a server, and the clips that are sent to it.

`pytest tests/effects` starts a server and a worker with the small checkpoint;
`pytest tests/effects --server URL [--api-key KEY] [--lora PATH]` measures any other.
"""

import os
from collections.abc import Iterator
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import pytest

from rotoscope.client import Client
from rotoscope.media.clip import Size
from rotoscope.media.decode import decode
from tests.effects import scenes
from tests.effects.studio import Source, Studio

SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"
LONGEST_TEST_S = 900
"""A test may wait for all orders that were queued before its own."""
FPS = Fraction(25)
FRAMES = 17


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("effects")
    group.addoption("--server", help="Measure this server; without it, one is started.")
    group.addoption("--api-key", help="The key that the server asks for.")
    group.addoption(
        "--lora",
        action="append",
        help="A LoRA that the server's checkpoint can load; may be repeated. "
        "Without it, those that come with the small checkpoint.",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and "studio" in getattr(
            item, "fixturenames", ()
        ):
            item.add_marker(pytest.mark.timeout(LONGEST_TEST_S))


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the server that is measured."""
    if given := request.config.getoption("--server", default=None):
        yield given
        return
    # Loads torch, which a machine that only measures another one may not have.
    from tests.journey.conftest import running  # noqa: PLC0415

    data_dir = tmp_path_factory.mktemp("effects-data")
    home: Path = request.getfixturevalue("mini_home")
    (data_dir / "checkpoints").symlink_to(home / "checkpoints")
    own = {
        "ROTOSCOPE_DATA_DIR": str(data_dir),
        "TMPDIR": str(tmp_path_factory.mktemp("effects-tmp")),
        "COLUMNS": "120",
        # Threads that wait for each other take ten times as long where other tests want the cores.
        "OMP_NUM_THREADS": "1",
    }
    with running({**os.environ, **own}) as (_, url):
        yield url


@pytest.fixture(scope="session")
def studio(
    server: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    key = request.config.getoption("--api-key", default=None)
    with Client(server, key) as client:
        yield Studio(client, tmp_path_factory.mktemp("effects"))


@pytest.fixture(scope="session")
def film(studio: Studio) -> Source:
    """A third of a second of camera footage: a street with people, the camera still."""
    return studio.film(footage(256, 128, 9), FPS)


@pytest.fixture(scope="session")
def scene(studio: Studio) -> Source:
    """A still picture, full of detail, as a clip: nothing in it moves."""
    return studio.film(scenes.still(scenes.landscape(), FRAMES), FPS)


@pytest.fixture(scope="session")
def balls(studio: Studio) -> Source:
    """Three coloured balls that move at known speeds."""
    return studio.film(scenes.discs(FRAMES), FPS)


def footage(width: int, height: int, frames: int = FRAMES) -> scenes.Frames:
    """The start of the sample clip, cut and made small."""
    return decode(SAMPLE, frames=frames, fps=FPS, size=Size(width, height))
