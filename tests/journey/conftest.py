"""Fixtures of the journeys."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rotoscope.media.clip import Clip
from rotoscope.media.encode import encode
from tests.journey.site import Site, opened


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of moving colour."""
    ramp = np.add.outer(np.arange(12) * 8, np.add.outer(np.arange(48), np.arange(64)))
    frames = np.stack([ramp, ramp // 2, 255 - ramp], axis=-1).astype(np.uint8)
    folder = tmp_path_factory.mktemp("clip")
    return encode(Clip(frames, Fraction(12)), quality="low", into=folder).path
